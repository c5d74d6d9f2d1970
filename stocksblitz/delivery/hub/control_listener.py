"""What web processes do with control messages, and with sessions that must be read again."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from channels.layers import get_channel_layer
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.control import ControlMessage, decode_control, group
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.decoding import BadData

log = logging.getLogger(__name__)

_bad_messages = BadDataLog("control")

SUBSCRIBE_S = 2.0
RETRY_S = 0.5

type Resync = Callable[[Connection], Awaitable[None]]


class ControlListener:
    """Carries out control messages on the connections of this process."""

    def __init__(
        self, registry: Registry, verify: Callable[[], None], spawn: Callable[[Any], asyncio.Task[Any]]
    ) -> None:
        self._registry, self._verify, self._spawn = registry, verify, spawn
        self._task: asyncio.Task[Any] | None = None
        self._subscribed = asyncio.Event()
        self.resync: Resync | None = None
        """How a session's subscriptions are read again; the application that stores sessions sets it."""

    async def restart(self) -> None:
        """Listen over a new connection: the channel layer does not notice when its own is open and dead.

        Returns once the group is subscribed to, or after `SUBSCRIBE_S`.
        """
        if self._task is not None:
            self._task.cancel()
        self._subscribed.clear()
        self._task = self._spawn(self._listen_forever())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), SUBSCRIBE_S)

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("control is out of reach, retrying: %s", error, extra={"action": "control_lost"})
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        await layer.flush()
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # flush() swallows a cancellation that meets it
            raise asyncio.CancelledError
        channel = await layer.new_channel("hub")
        await layer.group_add(group(), channel)
        self._subscribed.set()
        while True:
            try:
                self._carry_out(_decode(await layer.receive(channel)))
            except (ValueError, TypeError) as error:  # the layer's own decoder raises either for junk
                _bad_messages.report("control", _bad(error))

    def _carry_out(self, message: ControlMessage) -> None:
        if message.action == "verify":
            self._verify()
        elif message.action == "close":
            for connection in self._meant(message):
                connection.close(message.code, "the session has ended")
        else:
            self.resync_soon(self._meant(message))

    def _meant(self, message: ControlMessage) -> list[Connection]:
        if message.session_key is not None:
            named = self._registry.connections.get(message.session_key)
            candidates = [named] if named is not None else []
        else:
            candidates = [c for c in self._registry.open_connections() if _belongs(c, message)]
        wanted = message.ws_conn_id
        return [
            c for c in candidates if wanted in (None, c.ws_conn_id) and c.ws_conn_id != message.except_conn
        ]

    def resync_soon(self, connections: Iterable[Connection]) -> None:
        """Read these sessions again, those that the database knows."""
        for connection in connections:
            self._spawn(self._resync(connection))

    async def _resync(self, connection: Connection) -> None:
        """Try until it has worked: what a session is sent must be what it has."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=0.1, max=5.0),
            before_sleep=_log_failed_resync,
        )
        await retrying(self._resync_once, connection)

    async def _resync_once(self, connection: Connection) -> None:
        if self.resync is not None and connection in self._registry.stored and connection.closing is None:
            await self.resync(connection)


def _decode(message: Any) -> ControlMessage:
    raw = message.get("message") if isinstance(message, dict) else None
    if not isinstance(raw, bytes):
        raise BadData("control", message, "a control message")
    return decode_control(raw)


def _bad(error: Exception) -> BadData:
    return error if isinstance(error, BadData) else BadData("control", str(error), "a control message")


def _belongs(connection: Connection, message: ControlMessage) -> bool:
    return (
        connection.user_id == message.user_id
        and message.login_id in (None, connection.login_id)
        and message.session_id in (None, connection.session_id)
    )


def _log_failed_resync(state: Any) -> None:
    error = state.outcome.exception()
    log.warning("session not read again, retrying: %s", error, extra={"action": "resync_failed"})
