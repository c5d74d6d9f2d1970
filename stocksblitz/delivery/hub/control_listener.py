"""What web processes do with control messages, and with sessions that must be read again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.control import ControlMessage, decode_control
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.decoding import BadData

log = logging.getLogger(__name__)

_bad_messages = BadDataLog("control")

type Resync = Callable[[Connection], Awaitable[None]]


class ControlListener:
    """Carries out control messages on the connections of this process."""

    def __init__(
        self, registry: Registry, verify: Callable[[], None], spawn: Callable[[Any], asyncio.Task[Any]]
    ) -> None:
        self._registry, self._verify, self._spawn = registry, verify, spawn
        self.resync: Resync | None = None
        """How a session's subscriptions are read again; the application that stores sessions sets it."""

    def receive(self, data: bytes) -> None:
        try:
            self._carry_out(decode_control(data))
        except BadData as error:
            _bad_messages.report("control", error)

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


def _belongs(connection: Connection, message: ControlMessage) -> bool:
    return (
        connection.user_id == message.user_id
        and message.login_id in (None, connection.login_id)
        and message.session_id in (None, connection.session_id)
    )


def _log_failed_resync(state: Any) -> None:
    error = state.outcome.exception()
    log.warning("session not read again, retrying: %s", error, extra={"action": "resync_failed"})
