"""Which connections are alive: closes those that are over, and renews the sessions of the others."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from django.conf import settings
from redis.exceptions import RedisError

from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.hub.control_listener import ControlListener
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.delivery.limits import SocketCounts
from stocksblitz.delivery.messages import Close

log = logging.getLogger(__name__)

STALLED_S = 90.0
"""How long a connection may take nothing at all although something waits for it."""

type Touch = Callable[[Sequence[tuple[int, str]]], Awaitable[list[bool]]]


class Liveness:
    """Looks at all connections every so often, and writes the heartbeat of this process."""

    def __init__(self, registry: Registry, counts: SocketCounts, control: ControlListener) -> None:
        self._registry, self._counts, self._control = registry, counts, control
        self.touch: Touch | None = None
        """Renews the subscriptions of sessions, as (user, session id); the application that stores sessions sets it."""

    async def step(self) -> None:
        living = self._close_ended()
        if await self._counts.beat():
            await self._counts.renew([(c.user_id, c.ws_conn_id) for c in self._registry.open_connections()])
        if living:
            await self._renew(living)

    def _close_ended(self) -> list[Connection]:
        """Close the connections that are over; return those whose sessions are due to be renewed."""
        now, wall_ms = time.monotonic(), time.time() * 1000
        due = []
        for connection in self._registry.open_connections():
            if not connection.transport.pongs:
                connection.note_sign_of_life()
            if connection.expires_at is not None and wall_ms > connection.expires_at:
                connection.close(Close.NOT_AUTHENTICATED, "what it was opened with has expired")
            elif now - connection.last_sign_of_life > settings.SESSION_TTL:
                connection.close(Close.SESSION_ENDED, "no sign of life")
            elif connection.stalled_at is not None and now - connection.stalled_at > STALLED_S:
                connection.close(Close.TOO_SLOW, "nothing was read for too long")
            elif _is_due(connection, now):
                connection.renewed_at = now
                due.append(connection)
        return due

    async def _renew(self, living: list[Connection]) -> None:
        """Renew these sessions; one that is gone although its connection is here is read again."""
        stored = [connection for connection in living if connection in self._registry.stored]
        try:
            await self._counts.renew([(c.user_id, c.ws_conn_id) for c in living])
            if self.touch is None or not stored:
                return
            found = await self.touch([(c.user_id, c.session_id) for c in stored])
        except (RedisError, OSError) as error:
            log.warning("sessions not renewed: %s", error, extra={"action": "touch_failed"})
            return
        self._control.resync_soon([c for c, there in zip(stored, found, strict=True) if not there])


def _is_due(connection: Connection, now: float) -> bool:
    """Return whether the client showed a sign of life since its session was renewed some time ago."""
    return (
        now - connection.renewed_at > settings.SESSION_TTL / 10
        and connection.last_sign_of_life > connection.renewed_at
    )
