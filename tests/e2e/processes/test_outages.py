"""Open sockets while Redis is killed, the web process is restarted, or the whole server stops."""

import asyncio
import contextlib
import math
import os
import re
import signal
import time
from datetime import UTC, datetime

import httpx
import pytest
import redis as redis_py
from websockets.exceptions import ConnectionClosed

from tests.conftest import aeventually
from tests.e2e.stack import Stack
from tests.e2e.tabs import Tab

pytestmark = pytest.mark.process
BARS_MISSED = 4000


def redis_of(stack):
    return redis_py.Redis(unix_socket_path=str(stack.data / "redis.sock"))


@pytest.fixture(scope="module")
def own_server():
    """A server of this module, whose processes its tests may end."""
    server = Stack()
    try:
        yield server.start().wait_ready()
    finally:
        server.close()


@pytest.fixture
def server(own_server):
    """The same, running: a test may have stopped it."""
    if own_server.process.poll() is not None:
        own_server.start().wait_ready()
    return own_server


async def receives_again(server, tab) -> Tab:
    """Return the tab once it receives values, or the tab of its session that replaced it after missed bars (4000)."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")

    def is_new(message):
        return message["timestamp"] > now and message["indicators"]["SMA_20"]["value"] is not None

    try:
        await tab.next("market_update", is_new)
    except ConnectionClosed:
        assert tab.socket.close_code == BARS_MISSED
        again = await Tab.open(server, session_id=tab.session_id)
        assert again.messages[0]["retained"] == [
            {"symbol": "BTCUSD", "timeframe": "1min", "indicators": ["SMA_20"]}
        ]
        await again.subscribe("BTCUSD", "1min", ["SMA_20"])
        return await receives_again(server, again)
    return tab


async def closed_for_restarts(server) -> float:
    """Return how many sockets were closed with 1012, as the server's metrics say; nan while it is away."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        with contextlib.suppress(httpx.HTTPError):
            text = (await http.get("/metrics")).text
            found = re.search(r'^stocksblitz_socket_closes_total\{code="1012"\} (.*)$', text, re.MULTILINE)
            return float(found[1]) if found else 0.0
    return math.nan


async def test_a_redis_that_was_killed_and_comes_back_loses_no_subscription(server):
    tab = await Tab.open(server)
    await tab.subscribe("BTCUSD", "1min", ["SMA_20"])
    await tab.next("market_update")
    killed = server.kill("redis")
    began = time.monotonic()
    await aeventually(lambda: server.pids().get("redis", killed) != killed, what="Redis is started again")
    tab = await receives_again(server, tab)
    print(f"frames again {time.monotonic() - began:.1f} s after redis was killed")
    redis = redis_of(server)
    redis.flushall()
    flushed = time.monotonic()
    await aeventually(lambda: redis.exists("mock:indicator_sub:BTCUSD:1min:SMA_20"))
    tab = await receives_again(server, tab)
    print(f"frames again {time.monotonic() - flushed:.1f} s after a flush")
    await tab.send(type="list")
    rows = (await tab.next("subscriptions"))["subscriptions"]
    assert [row["indicators"] for row in rows] == [["SMA_20"]]
    await tab.close()


async def test_sockets_that_a_restart_closes_are_counted(server):
    tabs = [await Tab.open(server) for _ in range(5)]
    counted, before = await closed_for_restarts(server), server.pids()["web"]
    os.kill(before, signal.SIGTERM)
    for tab in tabs:
        assert await tab.closed() == 1012

    async def all_counted():
        return await closed_for_restarts(server) == counted + 5

    await aeventually(all_counted, 120)
    assert server.pids()["web"] != before


async def test_a_stopping_server_names_the_time_within_which_to_reconnect(server):
    tabs = [await Tab.open(server) for _ in range(5)]
    server.process.terminate()
    for tab in tabs:
        assert await tab.closed() == 1012
        assert "jitter_ms=" in tab.socket.close_reason
    assert await asyncio.to_thread(server.process.wait, 180) == 0
