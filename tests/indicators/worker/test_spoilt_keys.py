"""Junk in the keys of one symbol, or in a message: it alone waits, the others go on, and it comes back by itself."""

import orjson
import pytest

from tests.indicators.worker.test_stream_runner import (  # noqa: F401  (fixtures among them)
    STREAM,
    T0,
    bar,
    closed,
    feed,
    listener,
    runner,
    tick,
)


async def instead(redis, name, value):
    """Put a list in the place of whatever was there."""
    await redis.delete(name)
    await redis.lpush(name, value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda redis, keys, symbol: redis.set(keys.market(symbol), "no hash"),
        lambda redis, keys, symbol: redis.set(keys.bars(symbol, "1min"), "no sorted set"),
        lambda redis, keys, symbol: redis.hset(keys.market(symbol), "bar:1min", '{"half":'),
        lambda redis, keys, symbol: redis.hset(keys.market(symbol), "bar:1min", "[1, 2]"),
        lambda redis, keys, symbol: redis.hset(keys.market(symbol), "greeks", "{'delta': 1}"),
        lambda redis, keys, symbol: redis.hset(keys.market(symbol), "fresh_until", "soon"),
        lambda redis, keys, symbol: redis.hset(keys.market(symbol), "source", b"\xff"),
        lambda redis, keys, symbol: redis.hset(
            keys.market(symbol), "bar:1min", orjson.dumps([bar(50).ts, *["nan"] * 5, T0, bar(49).ts])
        ),
        lambda redis, keys, symbol: redis.hset(
            keys.market(symbol), "bar:1min", b"[1e300, 1, 1, 1, 1, 1, 1, %d]" % bar(49).ts
        ),
        lambda redis, keys, symbol: redis.zadd(keys.bars(symbol, "1min"), {"[]": bar(51).ts}),
        lambda redis, keys, symbol: redis.hdel(keys.market(symbol), "source", "gen"),
        lambda redis, keys, symbol: redis.set(keys.stream(symbol, "1min", "log"), "no list"),
        lambda redis, keys, symbol: instead(redis, keys.stream(symbol, "1min", "fence"), "no number"),
        lambda redis, keys, symbol: instead(redis, keys.stream(symbol, "1min", "pos"), "no text"),
    ],
)
@pytest.mark.parametrize("lives", [True, False])
async def test_a_symbol_whose_keys_are_spoilt_stops_no_other_and_comes_back(
    runner,
    feed,
    listener,
    aredis,
    keys,
    spoil,
    lives,
):
    """Whatever stands in its keys, before its stream is opened or while it lives."""

    async def whole():
        for name in (keys.market("BADUSD"), keys.bars("BADUSD", "1min")):
            await aredis.delete(name)
        await aredis.zunionstore(keys.bars("BADUSD", "1min"), [keys.bars(*STREAM)])
        await aredis.hset(keys.market("BADUSD"), mapping=await aredis.hgetall(keys.market(STREAM[0])))

    async def turn():
        runner.mark_dirty([STREAM[0], "BADUSD"])
        await runner.step()

    await feed.form(100.0)
    await whole()
    await aredis.sadd(keys.wanted, "BADUSD|1min|SMA_3")
    if lives:
        await runner.reconcile()
        await turn()
        assert set(runner.streams()) == {STREAM, ("BADUSD", "1min")}
    await spoil(aredis, keys, "BADUSD")
    await aredis.sadd(keys.wanted, "BADUSD|1min|EMA_9")
    await runner.reconcile()
    for upto in (51, 52):
        await listener.frames()
        await feed.close(upto)
        await feed.form(101.0)
        await turn()
        assert closed(await listener.frames()) == [bar(upto - 1).ts] or (upto == 51 and not lives)
    await whole()
    await turn()
    await turn()
    frame = orjson.loads(await aredis.get(keys.stream("BADUSD", "1min", "frame")))
    assert frame["ohlcv"]["ts"] == bar(52).ts
    assert frame["indicators"].keys() == {"SMA_3", "EMA_9"}


JUNK = [
    b"", b"\xff", b"junk", b"{}", b"[]", b"null", b'{"add":1,"drop":null}', b'{"add":["x"],"drop":[1]}', b'{"symbols":5}',
    b'{"add":["BTCUSD|9min|RSI_14","BTCUSD|1min|NOPE_1"],"drop":[]}', b"[" * 5000, b"A" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("message", JUNK, ids=[str(each[:20]) for each in JUNK])
async def test_junk_in_announcements_costs_that_message_alone(runner, feed, listener, keys, message):
    for channel in (keys.demand, keys.bar_updates):
        runner.on_message(channel, message)
    runner.on_message(keys.demand, b'{"add":["BTCUSD|1min|EMA_9"],"drop":[]}')
    await feed.form(100.0)
    await tick(runner)
    assert (await listener.frames())[-1]["indicators"].keys() == {"RSI_14", "SMA_3", "EMA_9"}


async def test_junk_among_what_is_subscribed_to_costs_itself_alone(runner, feed, aredis, keys):
    junk = [b"", b"\xff", b"BTCUSD", b"BTCUSD|9min|RSI_14", b"BTCUSD|1min|NOPE_1", b"bt:c|1min|RSI_14"]
    await aredis.sadd(keys.wanted, "BTCUSD|1min|EMA_9", *junk)
    await aredis.hset(keys.positions, mapping=dict.fromkeys(junk, 1))
    await runner.reconcile()
    assert runner.active.specs.keys() == {STREAM}
    assert runner.active.specs[STREAM].keys() == {"RSI_14", "SMA_3", "EMA_9"}
