"""The runner over a real Redis computes exactly what is subscribed to, each closed bar once, over takeovers."""

import asyncio

import orjson
import pytest
from django.conf import settings
from redis.exceptions import RedisError

from indicators.engine.live_stream import StreamPosition
from indicators.worker.stream_runner import StreamRunner
from stocksblitz.market.core.bars import Bar
from stocksblitz.workers.leases import shard_of
from stocksblitz.workers.runtime import now_ms
from tests.conftest import PATIENCE_S

MINUTE = 60_000
T0 = 1_700_000_000_000 // MINUTE * MINUTE
STREAM = ("BTCUSD", "1min")


def bar(n, close=None):
    close = 100.0 + (n * 7 % 13) if close is None else close
    return Bar(T0 + n * MINUTE, close - 1, close + 2, close - 3, close, 5.0 + n % 3, T0)


class Feed:
    """Writes bars as the feed does."""

    def __init__(self, redis, keys):
        self.redis, self.keys, self.closed = redis, keys, 0

    async def close(self, upto, generation=1):
        for n in range(self.closed, upto):
            await self.redis.zadd(self.keys.bars(*STREAM), {orjson.dumps(list(bar(n))): bar(n).ts})
        self.closed = upto
        fields = {"source": "simulated", "fresh_until": now_ms() + 60_000, "gen": generation}
        await self.redis.hset(self.keys.market(STREAM[0]), mapping=fields)

    async def form(self, close):
        prev = bar(self.closed - 1).ts if self.closed else 0
        forming = [*bar(self.closed, close), prev]
        await self.redis.hset(self.keys.market(STREAM[0]), "bar:1min", orjson.dumps(forming))


class Listener:
    """Collects what is published on the stream."""

    def __init__(self, redis, keys):
        self.redis, self.pubsub, self.keys = redis, redis.pubsub(), keys

    async def start(self):
        await self.pubsub.subscribe(self.keys.updates(*STREAM))
        await self.pubsub.get_message(timeout=PATIENCE_S)
        return self

    async def frames(self):
        """Return the frames since the last call: messages of one publisher come in order, and our own is the last."""
        await self.redis.publish(self.keys.updates(*STREAM), b"end")
        found = []
        while True:
            message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_S)
            if message is not None and message["data"] == b"end":
                return found
            if message is not None:
                found.append(orjson.loads(message["data"]))


@pytest.fixture
async def feed(aredis, keys):
    return Feed(aredis, keys)


@pytest.fixture
async def listener(aredis, keys):
    listener = await Listener(aredis, keys).start()
    yield listener
    await listener.pubsub.aclose()


@pytest.fixture
async def runner(aredis, keys, feed):
    await aredis.sadd(keys.wanted, "BTCUSD|1min|RSI_14", "BTCUSD|1min|SMA_3")
    await feed.close(50)
    runner = StreamRunner()
    await runner.leases.step()
    await runner.reconcile()
    yield runner
    await runner.close()


async def tick(runner):
    runner.mark_dirty([STREAM[0]])
    await runner.step()


def closed(frames):
    return [frame["ohlcv"]["ts"] for frame in frames if frame["ohlcv"]["closed"] and not frame.get("base")]


async def test_an_epoch_begins_with_the_state_at_the_last_closed_bar(runner, feed, listener):
    await feed.form(111.0)
    await tick(runner)
    base, forming = await listener.frames()
    assert base["base"] is True
    assert base["ohlcv"]["ts"] == bar(49).ts
    assert forming["ohlcv"] == {
        "ts": bar(50).ts, "open": 110.0, "high": 113.0, "low": 108.0, "close": 111.0, "volume": 7.0, "closed": False,
    }  # fmt: skip
    assert (base["epoch"], base["seq"] + 1) == (forming["epoch"], forming["seq"])
    assert forming["indicators"]["SMA_3"]["value"] == pytest.approx(
        (bar(48).close + bar(49).close + 111.0) / 3
    )
    assert forming["indicators"]["RSI_14"] == {
        "ts": bar(50).ts,
        "value": None,
        "timeframe": "1min",
        "ready": False,
    }


async def test_closed_bars_come_in_order_and_their_values_are_kept(runner, feed, listener, aredis, keys):
    await tick(runner)
    await feed.close(53)
    await feed.form(100.0)
    await tick(runner)
    frames = await listener.frames()
    assert closed(frames) == [bar(n).ts for n in (50, 51, 52)]
    assert frames[-1]["ohlcv"]["closed"] is False
    latest = orjson.loads(await aredis.get(keys.latest(*STREAM, "SMA_3")))
    assert latest["ts"] == bar(52).ts
    assert await aredis.pttl(keys.latest(*STREAM, "SMA_3")) > 0
    assert int(await aredis.hget(keys.positions, "BTCUSD|1min")) == bar(52).ts
    log = [orjson.loads(raw) for raw in await aredis.lrange(keys.stream(*STREAM, "log"), 0, -1)]
    assert closed(log) == [bar(n).ts for n in (50, 51, 52)]


async def test_a_torn_bar_is_never_used(runner, feed, listener, aredis, keys):
    """The forming bar names a bar before it that is not in the hot store yet."""
    await tick(runner)
    await listener.frames()
    torn = [*bar(52, 77.0), bar(51).ts]
    await aredis.hset(keys.market(STREAM[0]), "bar:1min", orjson.dumps(torn))
    await tick(runner)
    assert await listener.frames() == []
    await feed.close(52)
    await tick(runner)
    frames = await listener.frames()
    assert closed(frames) == [bar(50).ts, bar(51).ts]
    assert frames[-1]["ohlcv"]["close"] == 77.0


async def test_a_takeover_goes_on_where_the_other_ended(runner, feed, listener, aredis):
    await tick(runner)
    await feed.close(52)
    await tick(runner)
    first = await listener.frames()
    await runner.leases.close()
    await feed.close(55)
    await feed.form(101.0)
    other = StreamRunner()
    try:
        await other.leases.step()
        await other.reconcile()
        await tick(other)
        second = await listener.frames()
    finally:
        await other.close()
    assert closed(first) + closed(second) == [bar(n).ts for n in range(50, 55)]
    assert second[0]["base"] is True
    assert second[0]["ohlcv"]["ts"] == bar(51).ts
    assert second[0]["reset"] is False
    assert second[0]["epoch"] != first[0]["epoch"]


async def test_who_lost_the_lease_cannot_write_over_the_newer_one(runner, feed, listener, aredis, keys):
    await tick(runner)
    shard = shard_of(STREAM[0])
    await aredis.delete(keys.lease("compute", shard))
    other = StreamRunner()
    try:
        await other.leases.step()
        await other.reconcile()
        await tick(other)
        await listener.frames()
        await feed.form(105.0)
        await tick(runner)  # it still believes that the lease is its own
        assert await listener.frames() == []
        assert STREAM not in set(runner.streams())
    finally:
        await other.close()


async def test_a_rewritten_history_begins_an_epoch_that_says_so(runner, feed, listener, aredis, keys):
    await tick(runner)
    await listener.frames()
    await aredis.delete(keys.bars(*STREAM))
    feed.closed = 0
    await feed.close(10, generation=2)
    await tick(runner)
    (base,) = await listener.frames()
    assert (base["base"], base["reset"], base["ohlcv"]["ts"]) == (True, True, bar(9).ts)


async def test_a_new_indicator_joins_without_a_new_epoch(runner, feed, listener, aredis, keys):
    await feed.form(100.0)
    await tick(runner)
    before = (await listener.frames())[-1]
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|EMA_9"],"drop":["BTCUSD|1min|RSI_14"]}')
    await runner.step()
    (after,) = await listener.frames()
    assert set(after["indicators"]) == {"SMA_3", "EMA_9"}
    assert (after["epoch"], after["seq"]) == (before["epoch"], before["seq"] + 1)


async def test_a_stream_ends_with_its_last_subscriber(runner, feed, listener, aredis, keys, monkeypatch):
    monkeypatch.setattr("indicators.worker.active_streams.LINGER_S", 0.0)
    await tick(runner)
    await aredis.delete(keys.wanted)
    await runner.reconcile()
    await runner.step()
    assert list(runner.streams()) == []
    assert await aredis.exists(keys.stream(*STREAM, "frame"), keys.stream(*STREAM, "log")) == 0
    await feed.form(100.0)
    await listener.frames()
    await tick(runner)
    assert await listener.frames() == []


async def test_what_a_stream_left_that_ended_while_nobody_computed_goes(
    runner, feed, aredis, keys, monkeypatch
):
    monkeypatch.setattr("indicators.worker.active_streams.LINGER_S", 0)
    parts = [keys.stream(*STREAM, part) for part in ("log", "frame", "pos")]
    await tick(runner)
    await runner.leases.close()
    assert await aredis.exists(*parts) == 3
    await aredis.delete(keys.wanted)
    later = StreamRunner()
    await later.leases.step()
    await later.reconcile()
    await later.step()
    assert await aredis.exists(*parts) == 0
    assert await aredis.hlen(keys.positions) == 0
    await aredis.sadd(keys.wanted, "BTCUSD|1min|SMA_3")
    for _ in range(2):
        await later.reconcile()
        await later.step()
    assert await aredis.exists(*parts) == 3
    await later.close()


async def test_a_stream_that_is_subscribed_to_again_at_the_last_moment_goes_on(
    runner, feed, listener, aredis, keys, monkeypatch
):
    monkeypatch.setattr("indicators.worker.active_streams.LINGER_S", 0.0)
    await tick(runner)
    await aredis.delete(keys.wanted)
    await runner.reconcile()
    step = asyncio.create_task(runner.end_unsubscribed())
    await asyncio.sleep(0)  # it has asked Redis, and is not answered yet
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|RSI_14"],"drop":[]}')
    await step
    assert STREAM in set(runner.streams())
    assert set(runner.active.specs[STREAM]) == {"RSI_14"}


async def test_what_is_announced_while_it_reconciles_stands(runner, keys):
    reconciling = asyncio.create_task(runner.reconcile())
    await asyncio.sleep(0)
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|EMA_9"],"drop":["BTCUSD|1min|RSI_14"]}')
    await reconciling
    assert set(runner.active.specs[STREAM]) == {"SMA_3", "EMA_9"}


async def test_bars_alone_live_and_end(runner, feed, listener, aredis, keys, monkeypatch):
    monkeypatch.setattr("indicators.worker.active_streams.LINGER_S", 0.0)
    await aredis.delete(keys.wanted)
    await aredis.sadd(keys.wanted, "BTCUSD|1min|-")
    await runner.reconcile()
    await feed.form(100.0)
    await tick(runner)
    assert [frame["indicators"] for frame in await listener.frames()] == [{}, {}]
    await runner.reconcile()
    assert not runner.active.changed  # nothing is read anew because of what is known
    await aredis.delete(keys.wanted)
    await runner.reconcile()
    await runner.step()
    assert list(runner.streams()) == []


async def test_an_indicator_subscribed_to_while_redis_fails_is_computed_afterwards(
    runner, feed, listener, aredis, keys
):
    await feed.form(100.0)
    await tick(runner)
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|EMA_9"],"drop":[]}')
    await aredis.acl_setuser("default", enabled=True, commands=["-hmget"])
    try:
        with pytest.raises(RedisError):
            await runner.step()
    finally:
        await aredis.acl_setuser("default", enabled=True, commands=["+hmget"])
    await listener.frames()
    await tick(runner)
    assert "EMA_9" in (await listener.frames())[-1]["indicators"]


async def test_what_cannot_be_read_of_one_symbol_costs_only_that_symbol(runner, feed, listener, aredis, keys):
    await aredis.sadd(keys.wanted, "BADUSD|1min|SMA_3", "TORN|1min|SMA_3")
    await aredis.hset(keys.market("BADUSD"), mapping={"source": "external", "fresh_until": "soon"})
    await aredis.hset(keys.market("TORN"), mapping={"source": "external", "bar:1min": "[1]"})
    await aredis.zadd(keys.bars("TORN", "1min"), {"{}": 1})
    await runner.reconcile()
    await feed.form(100.0)
    await tick(runner)
    assert len(await listener.frames()) == 2
    assert ("BADUSD", "1min") not in runner.streams()
    assert not await aredis.exists(keys.stream("TORN", "1min", "frame"))


async def test_who_was_fenced_off_leaves_the_newest_values_alone(runner, feed, aredis, keys):
    await tick(runner)
    await aredis.set(keys.stream(*STREAM, "fence"), 1 << 52)
    await feed.close(52)
    await tick(runner)
    assert await aredis.get(keys.latest(*STREAM, "SMA_3")) is None
    assert int(await aredis.hget(keys.positions, "BTCUSD|1min")) == bar(49).ts


async def test_many_streams_are_opened_some_at_a_time(runner, feed, monkeypatch, aredis, keys):
    monkeypatch.setattr("indicators.worker.stream_runner.OPENED_AT_ONCE", 2)
    for symbol in ("A", "B", "C", "D"):
        await aredis.sadd(keys.wanted, f"{symbol}|1min|SMA_3")
        await aredis.hset(keys.market(symbol), mapping={"source": "simulated", "gen": 1})
    await runner.reconcile()
    seen = []
    while len(seen) < 3:
        await runner.step()
        seen.append(len(list(runner.streams())))
    assert seen == [2, 4, 5]


async def test_a_closed_bar_that_is_published_again_keeps_the_bar_before_it(runner, feed, listener, keys):
    await tick(runner)
    await feed.close(52)
    await tick(runner)
    await listener.frames()
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|EMA_9"],"drop":[]}')
    await runner.step()
    (again,) = await listener.frames()
    assert (again["base"], again["ohlcv"]["ts"], again["prev"]) == (True, bar(51).ts, bar(50).ts)


async def test_a_price_that_gets_too_old_is_said_once(runner, feed, listener, monkeypatch):
    await feed.form(100.0)
    await tick(runner)
    assert [frame["stale"] for frame in await listener.frames()][-1] is False
    monkeypatch.setattr("indicators.worker.stream_runner.now_ms", lambda: now_ms() + 61_000)
    await runner.step()
    await runner.step()
    assert [frame["stale"] for frame in await listener.frames()] == [True]


async def test_a_worker_that_starts_second_gets_its_share(aredis, keys):
    first, second = StreamRunner(), StreamRunner()
    try:
        await first.leases.step()
        assert len(first.leases.held) == 64
        for _ in range(3):
            await second.leases.step()
            await first.leases.step()
        await second.leases.step()
        assert len(first.leases.held) == len(second.leases.held) == 32
        assert not first.leases.held.keys() & second.leases.held.keys()
        assert all(second.leases.held[shard] > 0 for shard in second.leases.held)
    finally:
        await first.close()
        await second.close()


def test_a_position_survives_being_written_down():
    position = StreamPosition("18c.1", 7, T0, "3")
    assert StreamPosition.load(position.dump().encode()) == position
    assert StreamPosition.load(None) == StreamPosition()
    assert settings.FRAME_LOG > 0
