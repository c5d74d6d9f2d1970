"""Bars out of prices that somebody else writes."""

import contextlib
import json
import sqlite3
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.core.greeks import price
from stocksblitz.market.feeds import bar_archive as archive_module
from stocksblitz.market.feeds.bar_archive import Archive
from stocksblitz.market.feeds.external.feed import GRACE_MS, ExternalFeed
from stocksblitz.market.feeds.external.ticks import AHEAD_MS, ExternalTick
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.models import Bar as StoredBar
from stocksblitz.market.models import Instrument, OptionContract
from stocksblitz.workers.runtime import now_ms
from tests.conftest import aeventually
from tests.market.feeds.outside import DAY, MINUTE, noon, read_all
from tests.market.feeds.reading import forming, hot, market

pytestmark = pytest.mark.django_db(transaction=True)


async def test_prices_become_bars(outside, redis, real_keys):
    out, now = await outside(), noon()
    for last, volume in ((10.0, 5), (12.0, 9), (9.0, 9), (11.0, 20)):
        await out.price(last=last, bid=last - 1, ask=last + 1, volume=volume, ts=now)
    await out.turn(now)
    assert forming(redis, real_keys, "AAA", "1min")[0][:6] == (now, 10.0, 12.0, 9.0, 11.0, 20.0)
    end = now + MINUTE
    await out.turn(end + GRACE_MS - 1)
    assert hot(redis, real_keys, "AAA", "1min") == []
    await out.turn(end + GRACE_MS)
    assert [bar[:6] for bar in hot(redis, real_keys, "AAA", "1min")] == [(now, 10.0, 12.0, 9.0, 11.0, 20.0)]
    assert (await StoredBar.objects.aget(timeframe="1min")).close == 11.0


async def test_prices_and_volume_stay_those_of_who_wrote_them(outside, redis, real_keys):
    out, now = await outside(), noon()
    listener = redis.pubsub()
    listener.subscribe(real_keys.price_updates, real_keys.bar_updates)
    await out.price(last="10.50", bid="10.40", ask="10.60", volume="7", ts=now)
    await out.turn(now)
    shown = market(redis, real_keys, "AAA")
    assert (shown["last"], shown["bid"], shown["ask"], shown["volume"]) == ("10.50", "10.40", "10.60", "7")
    assert shown["source"] == "external"
    heard = [message["channel"].decode() for message in iter(lambda: listener.get_message(timeout=0.1), None)]
    assert heard.count(real_keys.price_updates) == 2  # subscribed, and the message of who wrote the price
    assert heard.count(real_keys.bar_updates) == 2
    listener.close()


async def test_the_middle_stands_in_for_a_missing_last_price(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.price(bid=10.0, ask=11.0, ts=now)
    await out.turn(now)
    assert forming(redis, real_keys, "AAA", "1min")[0][1:6] == (10.5, 10.5, 10.5, 10.5, 0.0)


async def test_volume_is_counted_from_the_open_of_each_session(outside, redis, real_keys):
    out, now = await outside(), noon()
    opened = now - now % DAY
    first, second = opened - DAY + 60_000, opened
    for ts, volume in ((first, 100), (first + 1, 150), (second, 30), (second + 1, 70)):
        await out.price(last=10.0, volume=volume, ts=ts)
    await out.turn(second + 2)
    assert [bar.volume for bar in hot(redis, real_keys, "AAA", "1d")] == [150.0]
    assert forming(redis, real_keys, "AAA", "1d")[0].volume == 70.0


@pytest.mark.parametrize(
    "fields",
    [
        {"last": "nan"}, {"last": "x", "bid": "", "ask": "1"}, {"last": "-3"}, {"last": "inf"},
        {"last": "5", "bid": "6", "ask": "5"}, {"bid": "6", "ask": "5"}, {"last": "5", "volume": "-4"},
    ],
)  # fmt: skip
async def test_bad_prices_change_nothing(outside, redis, real_keys, fields):
    out, now = await outside(), noon()
    await out.price(last=10.0, bid=9.0, ask=11.0, volume=3, ts=now)
    await out.turn(now)
    before = forming(redis, real_keys, "AAA", "1min")
    redis.delete(real_keys.market("AAA"))
    redis.hset(real_keys.market("AAA"), mapping={**fields, "ts": now + 1})
    await read_all(out)
    await out.price(last=10.0, bid=9.0, ask=11.0, volume=3, ts=now + 2)
    out.feed.markets["AAA"].dirty = True
    await out.turn(now)
    assert forming(redis, real_keys, "AAA", "1min") == before


async def test_a_tick_from_the_future_closes_nothing(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.price(last=10.0, ts=now)
    redis.hset(real_keys.market("AAA"), mapping={"last": 99.0, "ts": now_ms() + AHEAD_MS + 60_000})
    await read_all(out)
    assert out.feed.listings["AAA"].bars.part.close == 10.0
    await out.price(last=11.0, ts=now + 1)
    assert out.feed.listings["AAA"].bars.part.close == 11.0


async def test_unknown_symbols_are_counted_and_a_new_instrument_is_taken_up(
    outside, redis, real_keys, monkeypatch
):
    monkeypatch.setattr("stocksblitz.market.feeds.external.feed.LEARN_S", 0.0)
    out, now = await outside(), noon()
    redis.hset(real_keys.market("NEW"), mapping={"last": 5.0, "ts": now})
    redis.publish(real_keys.price_updates, "NEW")
    redis.publish(real_keys.price_updates, b"\xff:*")  # no symbol at all
    await aeventually(lambda: len(out.feed._unknown) == 1)
    await out.turn(now)
    assert "NEW" not in out.feed.markets
    await Instrument.objects.acreate(symbol="NEW", exchange="24x7", kind="crypto", currency="USD")
    redis.publish(real_keys.price_updates, "NEW")
    await aeventually(lambda: "NEW" in out.feed._unknown)
    await out.turn(now)
    assert "NEW" in out.feed.markets
    await out.price("NEW", last=6.0, ts=now + 1)
    await out.turn(now)
    assert forming(redis, real_keys, "NEW", "1min")[0].close == 6.0


async def test_an_instrument_of_an_unknown_exchange_holds_nobody_up(outside, redis, real_keys, caplog):
    await Instrument.objects.acreate(symbol="ODD", exchange="NOWHERE", kind="equity", currency="USD")
    out = await outside()
    assert set(out.feed.markets) == {"AAA"}
    assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["bad_instrument"]


async def test_a_price_gets_stale_only_while_its_exchange_is_open(outside):
    await Instrument.objects.acreate(symbol="IND", exchange="XNSE", kind="equity", currency="INR")
    out = await outside("?stale=10")
    friday = 1_795_168_740_000  # 20 November 2026, 15:29 in India
    monday = calendars.session_at("XNSE", friday).until
    shown = out.feed.markets["IND"]
    out.feed._take("IND", ExternalTick(10.0, 10.0, 10.0, 1.0, friday), friday)
    assert shown.fresh_until == friday + 10_000
    await out.feed.step(friday + 20_000)
    assert shown.fresh_until == friday + 10_000  # stale: the exchange is open
    await out.feed.step(friday + 60_000)
    assert shown.fresh_until == monday + 10_000
    out.feed._take("IND", ExternalTick(10.0, 10.0, 10.0, 1.0, friday + 55_000), friday + 55_000)
    assert shown.fresh_until == monday + 10_000  # it may be that old once the exchange has closed


async def test_a_year_without_a_calendar_is_told_once_and_stops_nothing(outside, caplog):
    await Instrument.objects.acreate(symbol="IND", exchange="XNSE", kind="equity", currency="INR")
    out = await outside()
    at = 1_863_748_800_000  # 22 January 2029, 13:30 in India
    for second in range(3):
        out.feed._take("IND", ExternalTick(10.0, 10.0, 10.0, 1.0, at + 1000 * second), at + 1000 * second)
    assert out.feed.listings["IND"].bars.part is not None
    assert [record.year for record in caplog.records if record.action == "uncovered_year"] == [2029]


async def test_a_restart_goes_on_with_what_was_forming(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.writer.mark()
    for i in range(8):
        await out.price(last=10.0 + i, volume=10 * i, ts=now + i * MINUTE)
        await out.turn(now + i * MINUTE)
    await out.price(last=30.0, volume=100, ts=now + 7 * MINUTE + 5)
    await out.turn(now + 7 * MINUTE + 5)
    before = {
        timeframe: forming(redis, real_keys, "AAA", timeframe) for timeframe in ("1min", "5min", "1h", "1d")
    }
    await out.close()
    again = await outside()
    await again.turn(now + 7 * MINUTE + 6)
    assert {tf: forming(redis, real_keys, "AAA", tf) for tf in before} == before
    await again.price(last=5.0, volume=107, ts=now + 7 * MINUTE + 10)
    await again.turn(now + 8 * MINUTE + GRACE_MS)
    session = now - now % DAY
    assert hot(redis, real_keys, "AAA", "1min")[-1] == Bar(
        now + 7 * MINUTE, 17.0, 30.0, 5.0, 5.0, 47.0, session
    )
    assert [bar.ts for bar in hot(redis, real_keys, "AAA", "1min")] == [now + i * MINUTE for i in range(8)]


async def test_a_bar_that_ended_while_the_feed_was_down_is_closed_at_once(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.writer.mark()
    await out.price(last=10.0, volume=4, ts=now)
    await out.turn(now + 1)
    await out.close()
    again = await outside()
    await again.turn()
    assert [bar[:6] for bar in hot(redis, real_keys, "AAA", "1min")] == [(now, 10.0, 10.0, 10.0, 10.0, 4.0)]
    assert forming(redis, real_keys, "AAA", "1min") is None


async def test_a_database_that_is_away_stops_nothing_and_loses_nothing(
    outside, redis, real_keys, settings, monkeypatch
):
    settings.HOT_BARS = 5
    out, now = await outside(), noon()

    async def away(rows):
        raise DatabaseError from sqlite3.OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "_save", away)
        for i in range(12):
            await out.price(last=10.0 + i, ts=now + i * MINUTE)
            with contextlib.suppress(DatabaseError):
                await out.turn(now + i * MINUTE + 1)
        assert (
            len(hot(redis, real_keys, "AAA", "1min")) == 11
        )  # over its bound, as the database has none of them
    await out.turn(now + 12 * MINUTE + GRACE_MS)
    assert len(hot(redis, real_keys, "AAA", "1min")) == 5
    stored = [
        ts
        async for ts in StoredBar.objects.filter(timeframe="1min").values_list("ts", flat=True).order_by("ts")
    ]
    assert stored == [now + i * MINUTE for i in range(12)]


async def test_what_an_earlier_feed_did_not_save_is_saved_by_the_next(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.writer.mark()
    for i in range(6):
        await out.price(last=10.0 + i, ts=now + i * MINUTE)
        await out.feed.step(now + i * MINUTE + 1)
        await out.writer.flush()
    await out.close()
    assert await StoredBar.objects.acount() == 0
    again = await outside()
    await again.turn()
    assert await StoredBar.objects.filter(timeframe="1min").acount() == 6


async def test_a_flushed_redis_is_filled_from_the_database(outside, redis, real_keys):
    out, now = await outside(), noon()
    await out.writer.mark()
    for i in range(9):
        await out.price(last=10.0 + i, ts=now + i * MINUTE)
        await out.turn(now + i * MINUTE + 1)
    before = {timeframe: hot(redis, real_keys, "AAA", timeframe) for timeframe in ("1min", "3min", "5min")}
    for key in redis.scan_iter(match=f"{real_keys.prefix}*"):
        redis.delete(key)
    await out.writer.flush()
    assert out.writer.lost
    await out.writer.refill(list(out.feed.markets))
    assert len(before["1min"]) == 8
    assert {timeframe: hot(redis, real_keys, "AAA", timeframe) for timeframe in before} == before


@pytest.mark.parametrize("option", ["?stale=x", "?stal=3", "?stale=-1"])
async def test_a_wrong_setting_is_a_clear_error(aredis, real_keys, option):
    with pytest.raises(StocksBlitzError, match="external"):
        ExternalFeed(FeedSpec.parse(f"external{option}"), aredis, real_keys, Archive(aredis, real_keys))


async def test_a_chain_that_somebody_quotes_gets_greeks_and_open_interest(outside, redis, real_keys):
    now = noon()
    expiry, years = now + 9 * DAY, 9 / 365
    underlying = await Instrument.objects.aget(symbol="AAA")
    quoted = {}
    for strike in (95.0, 100.0, 105.0):
        for right in ("call", "put"):
            symbol = f"AAA-{strike:.0f}-{right[0].upper()}"
            made = await Instrument.objects.acreate(
                symbol=symbol, exchange="24x7", kind="option", currency="USD"
            )
            moment = datetime.fromtimestamp(expiry / 1000, UTC)
            terms = {"underlying": underlying, "expiry": moment, "strike": strike, "right": right}
            await OptionContract.objects.acreate(instrument=made, **terms)
            quoted[symbol] = price(right, 101.0, strike, years, 0.05, 0.4)
    await Instrument.objects.acreate(symbol="FUT", exchange="24x7", kind="future", currency="USD")
    out = await outside("?rate=0.05")
    await out.price(last=100.5, ts=now)
    await out.price("FUT", last=101.0, ts=now, open_interest=900, open_interest_change=-20)
    for symbol, premium in quoted.items():
        await out.price(symbol, last=premium, ts=now, open_interest=70 if "C" in symbol else 35)
    await out.price(
        "AAA-95-C", last=quoted["AAA-95-C"], ts=now + 1, open_interest=80, open_interest_change=10
    )
    out.feed._chains_computed = 0.0
    await out.turn(now)
    shown = market(redis, real_keys, "AAA")
    greeks = json.loads(shown["greeks"])
    assert greeks["forward"] == pytest.approx(101.0, abs=1e-3)
    assert (greeks["strike"], greeks["call"]["iv"]) == (100.0, pytest.approx(0.4, abs=1e-3))
    assert json.loads(shown["oi"]) == {"call": 220.0, "put": 105.0, "pcr": 0.4773, "change": 10.0}
    own = market(redis, real_keys, "AAA-95-C")
    assert json.loads(own["greeks"])["iv"] == pytest.approx(0.4, abs=1e-3)
    assert json.loads(own["oi"]) == {"oi": 80.0, "change": 10.0}
    assert json.loads(market(redis, real_keys, "FUT")["oi"]) == {"oi": 900.0, "change": -20.0}
    assert market(redis, real_keys, "FUT")["greeks"] == ""
