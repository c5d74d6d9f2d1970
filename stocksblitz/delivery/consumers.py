"""The life of every socket: sign-in, limits, requests and the end. Subclasses say what a socket is for."""

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
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.hub import Hub, get_hub
from stocksblitz.delivery.limits import MessageRate
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.transports import transport_of
from stocksblitz.observability import metrics
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

FAR_BEHIND_CHECK_S = 0.05
"""Pause between two looks at a session that is far behind; meanwhile the server reads no more from it."""

REFUSALS = {
    "forbidden": Close.FORBIDDEN,
    "invalid_parameter": Close.FORBIDDEN,  # signing in again would not make it better
    "limit_exceeded": Close.TOO_MANY_CONNECTIONS,
}


def expiry(ms: int | None) -> str | None:
    """Return ``expires_at`` as messages show it."""
    return wire.iso(ms) if ms else None


def _log_failure(event: str, action: str, error: Exception) -> None:
    """Log what failed; with a trace, unless it only says that Redis or the database is away."""
    away = isinstance(error, RedisError | OSError | DatabaseError)
    log.warning("%s: %s", event, error, exc_info=not away, extra={"action": action})


class NoSuchSocket(AsyncConsumer):
    """Accepts and closes a socket at an unknown address, so that a browser can read why."""

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
    """One socket; after the handshake everything leaves through its `connection`."""

    channel_layer_alias = None  # control messages reach the hub once per process
    messages: ClassVar[frozenset[str]]

    hub: Hub
    identity: Identity
    connection: Connection | None = None
    rate: MessageRate

    async def open(self, ws_conn_id: str) -> Connection:
        """Make the connection and send ``connected``; StocksBlitzError refuses the socket."""
        raise NotImplementedError

    async def replaced(self) -> str:
        """Return the id of the connection that the session has already, or an empty string."""
        return ""

    async def end(self, connection: Connection, code: int) -> None:
        """Clean up after the socket; ``code`` is how the peer closed it, 1006 when it did not."""

    def new_connection(self, session_id: str, ws_conn_id: str) -> Connection:
        connection = Connection(
            user_id=self.identity.user_id,
            session_id=session_id,
            ws_conn_id=ws_conn_id,
            transport=transport_of(self.scope, self.base_send),
            max_backlog=settings.WS_MAILBOX_BYTES,
        )
        connection.expires_at, connection.credential = self.identity.expires_at, self.identity.credential
        connection.login_id = str(self.identity.login_id) if self.identity.login_id else None
        return connection

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket as AsyncConsumer does, without its task per message, which only a channel layer needs.

        Whatever ends the application, the hub keeps nothing of the connection.
        """
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
                if self.connection is not None and self.connection.out is not None:
                    # Answers are written at the end of the turn; only then does it show that nobody reads them.
                    await asyncio.sleep(0)
        except StopConsumer:
            pass
        finally:
            if self.connection is not None:
                self.hub.unregister(self.connection)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event without AsyncConsumer's hop to a thread, which only the ORM needs."""
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
            _log_failure("socket not opened", "open_failed", error)
            await self._refuse(Close.TRY_AGAIN, "a part of the server is out of reach: try again in a moment")

    async def _admit(self, ws_conn_id: str) -> None:
        self.identity = await authenticate(self.scope)
        self.hub = await get_hub()
        if not await self._claim(ws_conn_id):
            raise StocksBlitzError(
                "limit_exceeded", f"at most {settings.WS_MAX_SOCKETS} sockets per user: close one"
            )
        try:
            self.rate = MessageRate(settings.WS_MESSAGES_PER_SECOND)
            self.connection = await self.open(ws_conn_id)
        except BaseException:
            with contextlib.suppress(RedisError, OSError):
                await self.hub.counts.release(self.identity.user_id, ws_conn_id)
            raise

    async def _claim(self, ws_conn_id: str) -> bool:
        """Count the socket for its user; one that replaces another of its session takes its place."""
        user_id = self.identity.user_id
        if await self.hub.counts.claim(user_id, ws_conn_id):
            return True
        before = await self.replaced()
        return bool(before) and await self.hub.counts.claim(user_id, ws_conn_id, replaces=before)

    async def _refuse(self, code: Close, reason: str) -> None:
        metrics.socket_closes.labels(code=str(int(code))).inc()
        await self.send({"type": "websocket.close", "code": int(code), "reason": reason[:100]})

    async def _disconnect(self, code: int) -> None:
        connection = self.connection
        if connection is None:
            return
        self.hub.unregister(connection)
        with contextlib.suppress(RedisError, OSError):
            await self.hub.counts.release(connection.user_id, connection.ws_conn_id)
        try:
            await self.end(connection, code)
        except Exception as error:  # what cannot be written now expires by itself
            _log_failure("clean-up after a socket failed", "end_failed", error)

    async def _receive(self, event: dict[str, Any]) -> None:
        connection = self.connection
        if connection is None or connection.closing is not None:
            return
        connection.note_sign_of_life()
        while connection.far_behind:  # noqa: ASYNC110 (rare, and many things end it)
            await asyncio.sleep(FAR_BEHIND_CHECK_S)
        text = event.get("text")
        raw: bytes = event.get("bytes") or b"" if text is None else text.encode()
        verdict = self.rate.take(asyncio.get_running_loop().time())
        if len(raw) > settings.WS_MAX_MESSAGE:
            connection.close(
                Close.MESSAGE_TOO_LARGE, f"a message has at most {settings.WS_MAX_MESSAGE} bytes"
            )
        elif verdict is MessageRate.TOO_MANY:
            connection.close(Close.TOO_MANY_MESSAGES, "too many messages")
        else:
            await self._answer(connection, raw, limited=verdict is MessageRate.LIMITED)

    async def _answer(self, connection: Connection, raw: bytes, *, limited: bool) -> None:
        request_id = None
        try:
            request = wire.parse(raw, self.messages)
            request_id = request.id
            if limited:
                most = settings.WS_MESSAGES_PER_SECOND
                raise StocksBlitzError(
                    "rate_limited", f"at most {most} messages per second; wait and send again"
                )
            await getattr(self, f"on_{request.type}")(connection, request)
        except StocksBlitzError as error:
            connection.reply(wire.error(error, getattr(error, "request_id", request_id)))
        except Exception as error:  # an error never closes the socket
            _log_failure("request failed", "message_failed", error)
            failure = StocksBlitzError(
                "unavailable", "a part of the server is out of reach: try again in a moment"
            )
            connection.reply(wire.error(failure, request_id))

    async def on_heartbeat(self, connection: Connection, request: wire.Request) -> None:
        connection.reply({"type": "heartbeat_ack", "id": request.id, "ts": now_ms()})

    async def on_authenticate(self, connection: Connection, request: wire.Request) -> None:
        identity = await authenticate_token(str(wire.text_field(request.body, "token")))
        if identity.user_id != connection.user_id:
            raise StocksBlitzError(
                "forbidden", "the token is another user's; open a socket of its own for it"
            )
        connection.expires_at, connection.credential = identity.expires_at, identity.credential
        connection.reply(
            {"type": "authenticated", "id": request.id, "expires_at": expiry(identity.expires_at)}
        )
