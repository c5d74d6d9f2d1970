"""The life of any socket of ours: who it is, how fast it may talk, how it ends. What it is for, a subclass says."""

import asyncio
import contextlib
import logging
import uuid
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.auth import Identity, authenticate, authenticate_token
from stocksblitz.delivery.connection import Client
from stocksblitz.delivery.hub import Hub, get_hub
from stocksblitz.delivery.limits import MessageRate, claim_socket, release_socket
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.transports import outlet_of
from stocksblitz.observability import metrics
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

BEHIND_S = 0.05
"""How often a session that is far behind is looked at again; meanwhile the server reads no more from it."""


REFUSALS = {
    "forbidden": Close.FORBIDDEN,
    "invalid_parameter": Close.FORBIDDEN,  # signing in again would not make it better
    "limit_exceeded": Close.TOO_MANY_CONNECTIONS,
}


def expiry(ms: int | None) -> str | None:
    return wire.iso(ms) if ms else None


def _strange(error: Exception) -> bool:
    """Whether the error is none that Redis or the database makes when it is away, so that its trace is worth a look."""
    return not isinstance(error, RedisError | OSError | DatabaseError)


class NoSuchSocket(AsyncConsumer):
    """Any other address: accepted and closed, so that a browser can read why."""

    channel_layer_alias = None

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        await self.send({"type": "websocket.accept"})
        await self.send(
            {"type": "websocket.close", "code": int(Close.FORBIDDEN), "reason": "no such socket here"}
        )

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        pass

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer


class SocketConsumer(AsyncConsumer):
    """One socket. Everything to its client leaves through `client`, after the handshake."""

    channel_layer_alias = None  # control reaches the hub once per process, not every tab on its own
    messages: ClassVar[frozenset[str]]

    hub: Hub
    identity: Identity
    client: Client | None = None
    rate: MessageRate

    async def open(self, ws_conn_id: str) -> Client:
        """Make the client and say hello; StocksBlitzError refuses the socket."""
        raise NotImplementedError

    async def replaced(self) -> str:
        """The connection that the session has already; empty: none."""
        return ""

    async def end(self, client: Client, code: int) -> None:
        """The socket is gone; ``code`` is how the peer closed it, 1006 when it did not."""

    def new_client(self, session_id: str, ws_conn_id: str) -> Client:
        client = Client(
            user_id=self.identity.user_id,
            session_id=session_id,
            ws_conn_id=ws_conn_id,
            outlet=outlet_of(self.scope, self.base_send),
            bound=settings.WS_MAILBOX_BYTES,
        )
        client.expires_at, client.basis = self.identity.expires_at, self.identity.basis
        return client

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As AsyncConsumer does, without a task and a wait for every message: no channel layer speaks to one socket.

        Whatever ends the application, the hub keeps nothing of it.
        """
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
                if self.client is not None and self.client.out is not None:
                    # Answers leave at the end of a turn, and only then is seen that nobody reads them.
                    await asyncio.sleep(0)
        except StopConsumer:
            pass
        finally:
            if self.client is not None:
                self.hub.unregister(self.client)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As AsyncConsumer does, without its hop to a thread before every message: nothing here touches the ORM."""
        if message["type"] == "websocket.receive":
            await self._receive(message)
        elif message["type"] == "websocket.connect":
            await self._connect()
        else:
            await self._disconnect(message.get("code") or 1006)
            raise StopConsumer

    async def _connect(self) -> None:
        subprotocol = "bearer" if "bearer" in self.scope.get("subprotocols", []) else None
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol})
        ws_conn_id = f"ws_{uuid.uuid4().hex}"
        try:
            await self._admit(ws_conn_id)
            self.scope.get("headers", []).clear()  # not needed after the handshake, and 2 KB a socket
        except StocksBlitzError as error:
            known = Close.TRY_AGAIN if error.retryable else REFUSALS.get(error.code, Close.NOT_AUTHENTICATED)
            await self._refuse(known, error.message)
        except Exception as error:
            log.warning(
                "a socket was not opened: %s",
                error,
                exc_info=_strange(error),
                extra={"action": "open_failed"},
            )
            await self._refuse(Close.TRY_AGAIN, "a part of the server is out of reach: try again in a moment")

    async def _admit(self, ws_conn_id: str) -> None:
        self.identity = await authenticate(self.scope)
        self.hub = await get_hub()
        if not await self._claim(ws_conn_id):
            raise StocksBlitzError(
                "limit_exceeded", f"at most {settings.WS_MAX_SOCKETS} sockets a user: close one"
            )
        try:
            self.rate = MessageRate(settings.WS_MESSAGES_PER_SECOND)
            self.client = await self.open(ws_conn_id)
        except BaseException:
            with contextlib.suppress(RedisError, OSError):
                await release_socket(self.hub.redis, self.identity.user_id, ws_conn_id)
            raise

    async def _claim(self, ws_conn_id: str) -> bool:
        """Take one of the user's places; a session that opens another socket takes that of its old one."""
        redis, user_id = self.hub.redis, self.identity.user_id
        if await claim_socket(redis, user_id, ws_conn_id):
            return True
        before = await self.replaced()
        return bool(before) and await claim_socket(redis, user_id, ws_conn_id, replaces=before)

    async def _refuse(self, code: Close, reason: str) -> None:
        metrics.socket_closes.labels(code=str(int(code))).inc()
        await self.send({"type": "websocket.close", "code": int(code), "reason": reason[:100]})

    async def _disconnect(self, code: int) -> None:
        client = self.client
        if client is None:
            return
        self.hub.unregister(client)
        with contextlib.suppress(RedisError, OSError):
            await release_socket(self.hub.redis, client.user_id, client.ws_conn_id)
        try:
            await self.end(client, code)
        except Exception as error:  # what cannot be written now runs out by itself
            log.warning(
                "a socket did not end well: %s",
                error,
                exc_info=_strange(error),
                extra={"action": "end_failed"},
            )

    async def _receive(self, event: dict[str, Any]) -> None:
        client = self.client
        if client is None or client.closing is not None:
            return
        client.alive()
        while client.behind:  # noqa: ASYNC110 (rare, and what ends it has many places)
            await asyncio.sleep(BEHIND_S)
        text = event.get("text")
        raw: bytes = event.get("bytes") or b"" if text is None else text.encode()
        verdict = self.rate.take(asyncio.get_running_loop().time())
        if len(raw) > settings.WS_MAX_MESSAGE:
            client.close(Close.MESSAGE_TOO_LARGE, f"a message has at most {settings.WS_MAX_MESSAGE} bytes")
        elif verdict is MessageRate.TOO_MANY:
            client.close(Close.TOO_MANY_MESSAGES, "too many messages")
        else:
            await self._answer(client, raw, limited=verdict is MessageRate.LIMITED)

    async def _answer(self, client: Client, raw: bytes, *, limited: bool) -> None:
        request_id = None
        try:
            request = wire.parse(raw, self.messages)
            request_id = request.id
            if limited:
                most = settings.WS_MESSAGES_PER_SECOND
                raise StocksBlitzError(
                    "rate_limited", f"at most {most} messages a second; wait and send again"
                )
            await getattr(self, f"on_{request.type}")(client, request)
        except StocksBlitzError as error:
            client.reply(wire.error(error, getattr(error, "request_id", request_id)))
        except Exception as error:  # an error never closes the socket
            log.warning(
                "a message was not served: %s",
                error,
                exc_info=_strange(error),
                extra={"action": "message_failed"},
            )
            failure = StocksBlitzError(
                "unavailable", "a part of the server is out of reach: try again in a moment"
            )
            client.reply(wire.error(failure, request_id))

    async def on_heartbeat(self, client: Client, request: wire.Request) -> None:
        client.reply({"type": "heartbeat_ack", "id": request.id, "ts": now_ms()})

    async def on_authenticate(self, client: Client, request: wire.Request) -> None:
        identity = await authenticate_token(str(wire.text_field(request.body, "token")))
        if identity.user_id != client.user_id:
            raise StocksBlitzError(
                "forbidden", "the token is another user's; open a socket of its own for it"
            )
        client.expires_at, client.basis = identity.expires_at, identity.basis
        if identity.login_id != self.identity.login_id:  # a logout tells the sessions of its own login alone
            client.basis = "login", str(identity.login_id)
        client.reply({"type": "authenticated", "id": request.id, "expires_at": expiry(identity.expires_at)})
