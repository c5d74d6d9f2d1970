"""Sessions whose web process was killed: nobody has said that their sockets ended."""

import time
from uuid import UUID

from django.conf import settings

from indicators.models import Session
from indicators.subscriptions.commands import Release
from indicators.subscriptions.unit_of_work import writer
from stocksblitz.delivery.limits import open_sockets
from stocksblitz.redis.client import sync_client

SECOND_LOOK_S = 3.0
"""A web process writes again within a second what Redis has lost: only a socket that is missing twice is dead."""


def release_dead_sockets() -> int:
    """Have these sessions expire like those of a dropped socket; return how many they were."""
    dead = _sessions_with_dead_sockets()
    if dead:
        time.sleep(SECOND_LOOK_S)  # the clean-up's own thread waits, and nobody waits for it
        dead &= _sessions_with_dead_sockets()
    grace_ms = 1000 * settings.RECONNECT_GRACE
    futures = [
        writer.submit(Release((user, str(session)), socket, grace_ms)) for user, session, socket in dead
    ]
    return sum(bool(future.result()) for future in futures)


def _sessions_with_dead_sockets() -> set[tuple[int, UUID, str]]:
    """Return (user, session, socket) of open sessions whose socket no living web process holds."""
    rows = Session.objects.filter(ended_at=None).exclude(ws_conn_id="")
    sessions = set(rows.values_list("user_id", "session_id", "ws_conn_id"))
    alive = open_sockets(sync_client(), {user for user, _, _ in sessions})
    return {session for session in sessions if session[2] not in alive}
