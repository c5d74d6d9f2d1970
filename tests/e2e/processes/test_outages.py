"""Redis killed, the web process restarted, the whole server stopped: what open sockets are told, and what they keep."""

import asyncio
import contextlib
import os
import signal
import time

import httpx
import pytest
import redis as redis_py

from tests.conftest import aeventually
from tests.e2e.tabs import Tab

pytestmark = pytest.mark.process


def redis_of(stack):
    return redis_py.Redis(unix_socket_path=str(stack.data / "redis.sock"))


async def test_a_redis_that_was_killed_and_comes_back_loses_no_subscription(stack):
    server = stack().start().wait_ready()
    tab = await Tab.open(server)
    await tab.subscribe("BTCUSD", "1min", ["SMA_20"])
    await tab.next("market_update")
    killed = server.kill("redis")
    began = time.monotonic()
    await aeventually(lambda: server.pids().get("redis", killed) != killed, what="Redis is started again")
    tab.messages.clear()
    await tab.next("market_update", lambda m: m["indicators"].get("SMA_20", {}).get("value") is not None)
    print(f"frames again {time.monotonic() - began:.1f} s after redis was killed")
    redis = redis_of(server)
    redis.flushall()
    flushed = time.monotonic()
    await aeventually(lambda: redis.exists("mock:indicator_sub:BTCUSD:1min:SMA_20"))
    tab.messages.clear()
    await tab.next("market_update", lambda m: m["indicators"].get("SMA_20", {}).get("value") is not None)
    print(f"frames again {time.monotonic() - flushed:.1f} s after a flush")
    await tab.send(type="list")
    rows = (await tab.next("subscriptions"))["subscriptions"]
    assert [row["indicators"] for row in rows] == [["SMA_20"]]
    await tab.close()


async def test_sockets_that_a_restart_closes_are_counted(stack):
    server = stack().start().wait_ready()
    tabs = [await Tab.open(server) for _ in range(5)]
    before = server.pids()["web"]
    os.kill(before, signal.SIGTERM)
    for tab in tabs:
        assert await tab.closed() == 1012

    async def counted():
        async with httpx.AsyncClient(base_url=server.url) as http:
            with contextlib.suppress(httpx.HTTPError):
                return 'stocksblitz_socket_closes_total{code="1012"} 5.0' in (await http.get("/metrics")).text

    await aeventually(counted, 60)
    assert server.pids()["web"] != before


async def test_a_server_that_leaves_tells_when_to_come_back(stack):
    server = stack().start().wait_ready()
    tabs = [await Tab.open(server) for _ in range(5)]
    server.process.terminate()
    for tab in tabs:
        assert await tab.closed() == 1012
        assert "jitter_ms=" in tab.socket.close_reason
    assert await asyncio.to_thread(server.process.wait, 60) == 0
