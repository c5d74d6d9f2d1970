"""What a killed web process held expires; what a living one holds stays."""

import uuid

import pytest

from indicators.models import Session
from indicators.subscriptions import dead_sockets
from indicators.subscriptions import service as subscriptions
from stocksblitz.delivery.limits import SocketCounts

pytestmark = pytest.mark.django_db(transaction=True)


async def test_sessions_of_a_killed_process_are_released(alice, market, aredis, monkeypatch):
    monkeypatch.setattr(dead_sockets, "SECOND_LOOK_S", 0.0)
    counts = SocketCounts(aredis, "alive")
    await counts.beat()
    await counts.claim(alice.pk, "held")
    held, lost, closed = (str(uuid.uuid4()) for _ in range(3))
    for session_id, socket in ((held, "held"), (lost, "lost"), (closed, "")):
        await subscriptions.open_session(user_id=alice.pk, session_id=session_id, ws_conn_id=socket)
    assert await _in_thread(dead_sockets.release_dead_sockets) == 1
    rows = await _in_thread(lambda: dict(Session.objects.values_list("session_id", "ws_conn_id")))
    assert {str(name): socket for name, socket in rows.items()} == {held: "held", lost: "", closed: ""}
    assert await _in_thread(dead_sockets.release_dead_sockets) == 0


async def _in_thread(call):
    from channels.db import database_sync_to_async

    return await database_sync_to_async(call, thread_sensitive=False)()
