"""The one writer of quotes and bars."""

import orjson
import pytest
from redis.exceptions import ConnectionError as RedisDown

from stocksblitz.market.core.bars import Bar
from stocksblitz.market.feeds.base import FeedQuote, SymbolState
from stocksblitz.redis.keys import MOCK_TTL_S
from stocksblitz.workers.runtime import now_ms
from tests.conftest import eventually
from tests.market.feeds.reading import forming, hot, market

MINUTE = 60_000


def bar(minute, close=10.0):
    return Bar(minute * MINUTE, 10.0, 12.0, 9.0, close, 5.0, 0)


def moved(feed, symbol="AAA", **fields):
    """A market that has just changed."""
    quote = FeedQuote(10.0, 9.5, 10.5, 7.0, 3 * MINUTE)
    feed.markets[symbol] = SymbolState(symbol, 1, quote=quote, dirty=True, fresh_until=99, **fields)
    return feed.markets[symbol]


async def test_one_flush_writes_quote_bars_and_news(writer, puppet, redis, mock_keys):
    listener = redis.pubsub()
    listener.subscribe(mock_keys.price_updates, mock_keys.bar_updates)
    for _ in range(2):
        assert eventually(lambda: listener.get_message(timeout=1))["type"] == "subscribe"
    each = moved(puppet, forming={"1min": bar(2)}, last={"1min": MINUTE})
    each.close([("1min", bar(0)), ("1min", bar(1)), ("3min", bar(0))])
    each.greeks, each.oi = b'{"strike":1}', b'{"call":2}'
    before = now_ms()
    await writer.flush()
    shown = market(redis, mock_keys, "AAA")
    assert before <= int(shown.pop("flushed")) <= now_ms()
    assert shown == {
        "bid": "9.5", "ask": "10.5", "last": "10.0", "volume": "7.0", "ts": "180000", "source": "puppet",
        "fresh_until": "99", "gen": "1", "greeks": '{"strike":1}', "oi": '{"call":2}',
        "bar:1min": "[120000,10.0,12.0,9.0,10.0,5.0,0,60000]",
        **{f"bar:{timeframe}": "" for timeframe in ("3min", "5min", "15min", "30min", "1h", "4h", "1d")},
    }  # fmt: skip
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(0), bar(1)]
    assert hot(redis, mock_keys, "AAA", "3min") == [bar(0)]
    assert eventually(lambda: listener.get_message(timeout=1))["data"] == b"AAA"
    news = orjson.loads(eventually(lambda: listener.get_message(timeout=1))["data"])
    assert news["symbols"] == ["AAA"]
    assert isinstance(news["ts"], int)
    listener.close()


async def test_a_closed_bar_is_there_before_anything_names_it(writer, puppet, redis, mock_keys):
    moved(puppet).close([("1min", bar(0))])
    with redis.monitor() as monitor:
        await writer.flush()
        names = []
        while "PUBLISH" not in names:
            names.append(monitor.next_command()["command"].split()[0])
    assert names.index("ZADD") < names.index("HSET") < names.index("PUBLISH")


async def test_what_did_not_change_is_not_written(writer, puppet, redis, mock_keys):
    moved(puppet)
    moved(puppet, "BBB")
    await writer.flush()
    redis.delete(mock_keys.market("AAA"))
    puppet.markets["BBB"].dirty = True
    await writer.flush()
    assert market(redis, mock_keys, "AAA") == {}


async def test_a_bar_of_the_same_time_is_replaced(writer, puppet, redis, mock_keys):
    each = moved(puppet)
    each.close([("1min", bar(0)), ("1min", bar(1))])
    await writer.flush()
    each.close([("1min", bar(1, close=11.0)), ("1min", bar(2))])
    await writer.flush()
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(0), bar(1, close=11.0), bar(2)]


async def test_the_hot_store_is_bounded(writer, puppet, redis, mock_keys, settings):
    settings.HOT_BARS = 5
    each = moved(puppet)
    for minute in range(8):
        each.close([("1min", bar(minute))])
        await writer.flush()
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(minute) for minute in range(3, 8)]


async def test_everything_of_the_mock_realm_has_a_time_to_live(writer, puppet, redis, mock_keys, namespace):
    await writer.mark()
    moved(puppet).close([("1min", bar(0)), ("1d", bar(0))])
    await writer.flush()
    names = list(redis.scan_iter(match=f"{namespace}*"))
    assert len(names) == 4
    assert all(0 < redis.ttl(name) <= MOCK_TTL_S for name in names)
    for name in names:
        redis.expire(name, 7)
    writer._renewed = 0  # as if a minute had passed
    puppet.markets["AAA"].dirty = True
    await writer.flush()
    assert all(redis.ttl(name) > 7 for name in names)


async def test_while_redis_is_away_bars_wait_and_come_in_order(writer, puppet, redis, mock_keys, monkeypatch):
    each = moved(puppet, forming={"1min": bar(1)})
    each.close([("1min", bar(0))])

    async def away(*pipes):
        raise RedisDown("gone")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_execute", away)
        for minute in (1, 2):
            with pytest.raises(RedisDown):
                await writer.flush()
            each.close([("1min", bar(minute))])
    await writer.flush()
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(0), bar(1), bar(2)]
    assert forming(redis, mock_keys, "AAA", "1min") == (bar(1), 0)


async def test_what_waits_is_bounded_and_the_oldest_goes(writer, puppet, settings, caplog, monkeypatch):
    settings.HOT_BARS = 5
    each = moved(puppet)
    each.close([("1min", bar(minute)) for minute in range(25)])
    each.close([("1h", bar(0))])

    async def away(*pipes):
        raise RedisDown("gone")

    monkeypatch.setattr(writer, "_execute", away)
    with pytest.raises(RedisDown):
        await writer.flush()
    assert each.closed == [*(("1min", bar(minute)) for minute in range(20, 25)), ("1h", bar(0))]
    assert [record.bars for record in caplog.records if record.action == "bars_dropped"] == [20]


async def test_a_flushed_redis_is_noticed_and_filled_again(writer, puppet, redis, mock_keys):
    each = moved(puppet, forming={"1min": bar(3)}, last={"1min": 2 * MINUTE})
    puppet.closed_bars["AAA"] = {"1min": [bar(0), bar(1), bar(2)]}
    await writer.mark()
    await writer.flush()
    assert not writer.lost
    for name in redis.scan_iter(match=f"{mock_keys.prefix}*"):
        redis.delete(name)
    await writer.flush()  # nothing has changed, and yet it looks
    assert writer.lost
    await writer.refill(list(puppet.markets))
    await writer.flush()
    assert not writer.lost
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(0), bar(1), bar(2)]
    assert forming(redis, mock_keys, "AAA", "1min") == (bar(3), 2 * MINUTE)
    assert each.dirty is False


async def test_a_past_that_begins_anew_leaves_nothing_of_the_old_one(writer, puppet, redis, mock_keys):
    each = moved(puppet)
    each.close([("1min", bar(minute)) for minute in range(5)])
    await writer.flush()
    each.reset, each.gen = True, 2
    each.close([("1min", bar(1))])
    await writer.flush()
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(1)]
    assert market(redis, mock_keys, "AAA")["gen"] == "2"
    each.close([("1min", bar(2))])
    await writer.flush()
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(1), bar(2)]


async def test_the_generation_goes_on_where_the_hot_store_is_intact(writer, puppet, redis):
    assert await writer.inspect() is False
    gen = writer.gen
    await writer.mark()
    writer.gen = 0
    assert await writer.inspect() is True
    assert writer.gen == gen
    puppet.source = "another"
    assert await writer.inspect() is False
    assert writer.gen >= gen


@pytest.mark.parametrize("key", ["market", "bars", "marker"])
async def test_a_key_of_another_type_is_replaced_and_holds_nobody_up(writer, puppet, redis, mock_keys, key):
    name = {
        "market": mock_keys.market("AAA"),
        "bars": mock_keys.bars("AAA", "1min"),
        "marker": mock_keys.feed_marker,
    }[key]
    await writer.mark()
    redis.delete(name)
    redis.rpush(name, "junk")
    moved(puppet).close([("1min", bar(0))])
    moved(puppet, "BBB").close([("1min", bar(0))])
    puppet.closed_bars["AAA"] = puppet.closed_bars["BBB"] = {"1min": [bar(0)]}
    await writer.flush()
    assert hot(redis, mock_keys, "BBB", "1min") == [bar(0)]
    assert "AAA" in writer.lost
    await writer.refill(list(writer.lost))
    await writer.flush()
    assert not writer.lost
    assert hot(redis, mock_keys, "AAA", "1min") == [bar(0)]
    assert market(redis, mock_keys, "AAA")["last"] == "10.0"


async def test_a_spoilt_mark_counts_as_none(writer, puppet, redis, mock_keys):
    for mark in (b"puppet|x", b"puppet|\xff", b"puppet|-1", b"puppet", b"|1"):
        redis.set(mock_keys.feed_marker, mark)
        assert not await writer.inspect()
    redis.set(mock_keys.feed_marker, b"puppet|17")
    assert await writer.inspect()
    assert writer.gen == 17
