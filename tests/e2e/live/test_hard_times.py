"""Slow readers, lost notifications, expired tokens, and a compute worker that is killed."""

import asyncio
import socket
import subprocess
import sys
import time

import orjson
import pytest
import redis as redis_py

from bench.load.sockets import Crowd, Socket
from tests.conftest import aeventually, atakes_less
from tests.e2e.stack import ROOT
from tests.e2e.tabs import Tab, check_order, closed_bars, token_of

pytestmark = pytest.mark.process


def redis_of(stack):
    return redis_py.Redis(unix_socket_path=str(stack.data / "redis.sock"))


async def raw_socket(stack, on_text):
    token = await token_of(stack)
    path = f"/ws/indicators?token={token}"
    loop = asyncio.get_running_loop()
    line = socket.socket()
    line.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, 8192
    )  # what lies in the kernel was delivered: keep it little
    line.setblocking(False)
    await loop.sock_connect(line, ("127.0.0.1", stack.port))
    _, made = await loop.create_connection(lambda: Socket(0, path, Crowd(), on_text), sock=line)
    await made.opened()
    return made


async def test_a_session_that_stops_reading_is_told_lagged_and_gets_the_newest_frame(live_stack):
    """Every stream of the market in one session that does not read: memory stays bounded, others do not notice."""
    messages = []
    stalled = await raw_socket(live_stack, lambda _, data: messages.append(orjson.loads(data)))
    other = await Tab.open(live_stack)
    await other.subscribe("BTCUSD", "5min", ["SMA_20"])
    streams = [
        (symbol, tf)
        for symbol in ("NIFTY50", "BANKNIFTY", "BTCUSD", "AAPL", "TCS")
        for tf in ("5min", "1h", "4h")
    ]
    for symbol, timeframe in streams:
        request = {
            "type": "subscribe",
            "symbol": symbol,
            "timeframe": timeframe,
            "indicators": ["BBANDS_20_2", "RSI_14"],
        }
        stalled.send(orjson.dumps(request))
    await aeventually(lambda: sum(m["type"] == "market_update" for m in messages) > 50)
    stalled.pause()
    before = len(messages)
    paused_at = time.monotonic()
    while time.monotonic() - paused_at < 12:
        await other.next("market_update")  # one stalled tab never delays another
    stalled.resume()
    await aeventually(lambda: any(m["type"] == "lagged" for m in messages[before:]))
    newest = max(m["seq"] for m in other.messages if m["type"] == "market_update")
    await aeventually(
        lambda: any(
            m["type"] == "market_update"
            and m["symbol"] == "BTCUSD"
            and m["timeframe"] == "5min"
            and m["seq"] >= newest
            for m in messages[before:]
        )
    )
    for symbol, timeframe in streams:
        check_order(messages, symbol, timeframe)
    stalled.abort()
    await other.close()


async def test_notifications_that_redis_lost_are_repaired(live_stack):
    """Every pub/sub connection is cut: streams go on within two seconds, in order, with nothing closed missing."""
    tab = await Tab.open(live_stack)
    await tab.subscribe("BTCUSD", "1min", ["SMA_20"])
    await tab.next("market_update")

    async def recovery():
        redis_of(live_stack).execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        cut_at = time.monotonic()
        for _ in range(10):
            await tab.next("market_update")
        return time.monotonic() - cut_at

    await atakes_less(8, recovery)
    check_order(tab.messages, "BTCUSD", "1min")
    await tab.close()


SHORT_TOKENS = """
from datetime import timedelta
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken
from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
for _ in range(2):
    login = Login.objects.create(user=User.objects.get(username="demo"))
    token = AccessToken(tokens.issue(login)["access"])
    token.set_exp(lifetime=timedelta(seconds=10))
    print(token)
"""


async def short_tokens(stack):
    run = [sys.executable, "manage.py", "shell", "-v0", "-c", SHORT_TOKENS]
    made = await asyncio.to_thread(
        subprocess.run, run, cwd=ROOT, env=stack.env, check=True, timeout=300, capture_output=True, text=True
    )
    return made.stdout.split()[-2:]


async def test_a_socket_does_not_outlive_its_token_unless_it_is_renewed(live_stack):
    lasting = await token_of(live_stack)
    renewed, left = [await Tab.open(live_stack, token) for token in await short_tokens(live_stack)]
    assert left.messages[0]["expires_at"] is not None
    await renewed.send(type="authenticate", id=1, token=lasting)
    assert (await renewed.next("authenticated"))["expires_at"] > left.messages[0]["expires_at"]
    assert await left.closed() == 4501
    await renewed.send(type="heartbeat")
    await renewed.next("heartbeat_ack")
    await renewed.close()


async def test_two_compute_workers_share_and_one_takes_over(live_stack):
    """Start a second, kill it: streams go on without a wrong, missing or doubled closed bar."""
    tab = await Tab.open(live_stack)
    symbols = ("BTCUSD", "ETHUSD", "EURUSD", "NIFTY50", "TCS")
    for symbol in symbols:
        await tab.subscribe(symbol, "1min", ["EMA_9"])
    redis = redis_of(live_stack)

    def shares():
        leases = redis.mget([f"mock:sb:lease:compute:{n}" for n in range(64)])
        owners = [raw.split(b"|")[0] for raw in leases if raw]
        return sorted(owners.count(each) for each in set(owners))

    async def takeover():
        second = subprocess.Popen(
            [sys.executable, "manage.py", "compute_indicators"], cwd=ROOT, env=live_stack.env
        )
        try:
            await aeventually(lambda: shares() == [32, 32], what="the work is shared")
            for symbol in symbols:
                await tab.next("market_update", lambda m, symbol=symbol: m["symbol"] == symbol)
        finally:
            second.kill()
            second.wait()
        killed = time.monotonic()
        await aeventually(lambda: shares() == [64], what="the other takes over")
        for symbol in symbols:
            await tab.next("market_update", lambda m, symbol=symbol: m["symbol"] == symbol)
        return time.monotonic() - killed

    await atakes_less(8, takeover)
    for symbol in symbols:
        check_order(tab.messages, symbol, "1min")
        bars = [frame["ohlcv"]["ts"] for frame in closed_bars(tab.messages, symbol, "1min")]
        assert bars == sorted(set(bars))
    await tab.close()
