"""What others write into Redis is hostile: junk costs its own symbol alone."""

import pytest

from stocksblitz.market.feeds.external.feed import GRACE_MS
from stocksblitz.market.models import Instrument
from tests.market.feeds.outside import MINUTE, noon
from tests.market.feeds.reading import forming, hot

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = [
    {"ts": 2**63}, {"ts": "1e400"}, {"ts": "nan"}, {"ts": "1"}, {"ts": "250000000000000"}, {"ts": b"\xff\xfe\x80"},
    {"last": "1e400"}, {"last": "1e308"}, {"last": "1e9999999"}, {"last": b"\xff\xfe\x80"}, {"volume": "1e30"},
]  # fmt: skip


@pytest.mark.parametrize("fields", HOSTILE)
async def test_a_hostile_hash_costs_its_own_symbol_alone(outside, redis, real_keys, fields):
    await Instrument.objects.acreate(symbol="BBB", exchange="XNSE", kind="equity", currency="INR")
    out, now = await outside(), noon()
    redis.hset(real_keys.market("BBB"), mapping={"last": 5.0, "ts": now, **fields})
    redis.publish(real_keys.price_updates, "BBB")
    await out.price(last=10.0, ts=now)
    await out.turn(now)
    assert forming(redis, real_keys, "AAA", "1min")[0].close == 10.0
    assert out.feed.listings["BBB"].bars.part is None


async def test_a_key_of_another_type_is_left_to_whoever_writes_the_prices(outside, redis, real_keys):
    await Instrument.objects.acreate(symbol="BBB", exchange="24x7", kind="crypto", currency="USD")
    out, now = await outside(), noon()
    redis.rpush(real_keys.market("BBB"), "junk")
    redis.publish(real_keys.price_updates, "BBB")
    out.feed.markets["BBB"].dirty = True
    await out.price(last=10.0, ts=now)
    await out.turn(now)
    assert forming(redis, real_keys, "AAA", "1min")[0].close == 10.0
    redis.delete(real_keys.market("BBB"))
    await out.price("BBB", last=7.0, ts=now)
    await out.turn(now)
    assert forming(redis, real_keys, "BBB", "1min")[0].close == 7.0


JUNK_BARS = [
    b"junk", b"\xff\xfe\x80", b"[]", b"[1,2]", b"{}", b"null", b"[NaN,1,1,1,1,1,1]", b'["a","b","c","d","e","f","g"]',
]  # fmt: skip


@pytest.mark.parametrize("spoil", ["list", "hash", "bars", "bars of another type", "volume"])
async def test_a_restart_with_junk_costs_only_what_cannot_be_read(outside, redis, real_keys, spoil):
    await Instrument.objects.acreate(symbol="BBB", exchange="24x7", kind="crypto", currency="USD")
    out, now = await outside(), noon()
    await out.writer.mark()
    for i in range(4):
        for symbol in ("AAA", "BBB"):
            await out.price(symbol, last=10.0 + i, volume=i, ts=now + i * MINUTE)
        await out.turn(now + i * MINUTE)
    before = {timeframe: hot(redis, real_keys, "BBB", timeframe) for timeframe in ("1min", "3min")}
    await out.close()
    if spoil == "list":
        redis.delete(real_keys.market("BBB"))
        redis.rpush(real_keys.market("BBB"), "junk", b"\xff")
    elif spoil == "hash":
        fields = ("bid", "ask", "last", "volume", "ts", "fresh_until", "source", "bar:1min", "bar:1d")
        redis.hset(real_keys.market("BBB"), mapping=dict.fromkeys(fields, b"\xff\xfe\x80"))
    elif spoil == "volume":
        redis.set(real_keys.name("feed", "seen", "BBB"), '["x"]')
    else:
        for timeframe in ("1min", "3min"):
            name = real_keys.bars("BBB", timeframe)
            if spoil == "bars":
                redis.zadd(name, {raw: now + 30 * MINUTE + i for i, raw in enumerate(JUNK_BARS)})
            else:
                redis.delete(name)
                redis.rpush(name, "junk")
    again = await outside()
    await again.price(last=20.0, volume=9, ts=now + 5 * MINUTE)
    await again.turn(now + 6 * MINUTE + GRACE_MS)
    assert hot(redis, real_keys, "AAA", "1min")[-1].close == 20.0
    assert set(again.feed.markets) == {"AAA", "BBB"}
    if spoil == "bars":
        kept = {
            timeframe: hot(redis, real_keys, "BBB", timeframe)[: len(bars)]
            for timeframe, bars in before.items()
        }
        assert kept == before
