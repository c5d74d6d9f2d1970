"""The simulated market."""

import time
from itertools import pairwise

import pytest

from stocksblitz.market.core.bars import MINUTE_MS, TIMEFRAMES
from stocksblitz.market.feeds.simulated.feed import SimulatedFeed
from stocksblitz.market.feeds.simulated.option_prices import contracts, expiries, name
from stocksblitz.market.feeds.simulated.price_path import TICK_MS, Simulation, bars
from stocksblitz.market.feeds.simulated.profiles import PROFILES
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.feeds.writer import MarketWriter
from stocksblitz.market.models import Bar as StoredBar
from stocksblitz.market.models import Instrument, OptionContract
from tests.market.exchange_times import bar_open
from tests.market.feeds.reading import forming, grouped, hot, market, same

pytestmark = pytest.mark.django_db(transaction=True)

NOW = 1_795_221_951_130  # 21 November 2026, a Saturday
FEW = tuple(profile for profile in PROFILES if profile.symbol in ("NIFTY50", "BTCUSD", "AAPL"))


@pytest.fixture
def make(aredis, mock_keys, settings):
    settings.HOT_BARS = 200

    def make(seed=7, profiles=FEW[1:], hot_bars=200):
        settings.HOT_BARS = hot_bars
        feed = SimulatedFeed(seed, aredis, mock_keys, profiles)
        return feed, MarketWriter(aredis, mock_keys, feed, mock=True)

    return make


async def begin(feed, writer, now, *, intact=False):
    await feed.open(intact=intact, gen=1)
    while await feed.step(now):
        await writer.flush()
    await writer.flush()


async def test_the_past_is_full_at_once(make, redis, mock_keys):
    feed, writer = make(profiles=FEW, hot_bars=1_600)
    await begin(feed, writer, NOW)
    for profile in FEW:
        exchange = f"continuous:{profile.exchange}"
        for timeframe in TIMEFRAMES:
            found = hot(redis, mock_keys, profile.symbol, timeframe)
            assert len(found) == 1_600
            assert found[-1].ts == forming(redis, mock_keys, profile.symbol, timeframe)[1]
            for bar in found[::50]:
                assert bar_open(exchange, timeframe, bar.ts) == bar.ts
                assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        minutes = hot(redis, mock_keys, profile.symbol, "1min")
        assert minutes[-1].ts == NOW - NOW % MINUTE_MS - MINUTE_MS


async def test_larger_bars_are_made_of_the_smaller_ones(make, redis, mock_keys):
    feed, writer = make(profiles=FEW, hot_bars=3_000)
    await begin(feed, writer, NOW)
    for profile in FEW:
        minutes = hot(redis, mock_keys, profile.symbol, "1min")
        for timeframe in ("3min", "5min", "15min", "30min", "1h", "4h", "1d"):
            found = hot(redis, mock_keys, profile.symbol, timeframe)
            whole = [
                bar
                for bar in grouped(f"continuous:{profile.exchange}", minutes, timeframe)[1:]
                if bar.ts <= found[-1].ts
            ]
            assert found[-len(whole) :] == whole or not whole
            assert whole or timeframe == "1d"


async def test_indian_hours_begin_at_a_quarter_past(make, redis, mock_keys):
    feed, writer = make(profiles=FEW[:1])
    await begin(feed, writer, NOW)
    minutes = {
        time.gmtime(bar.ts / 1000 + 5.5 * 3600).tm_min for bar in hot(redis, mock_keys, "NIFTY50", "1h")
    }
    assert minutes == {15}


async def test_every_tick_lies_in_its_minute_and_the_minute_closes_as_it_was_meant(make, redis, mock_keys):
    feed, writer = make()
    start = NOW - NOW % MINUTE_MS
    await begin(feed, writer, start)
    seen = {symbol: [] for symbol in feed.markets}
    for at in range(start, start + 2 * MINUTE_MS, TICK_MS):
        await feed.step(at)
        await writer.flush()
        for symbol, ticks in seen.items():
            ticks.append((feed.markets[symbol].quote, feed.markets[symbol].forming["1min"]))
    await feed.step(start + 2 * MINUTE_MS)
    await writer.flush()
    for symbol, ticks in seen.items():
        first, second = hot(redis, mock_keys, symbol, "1min")[-2:]
        for minute, part in ((first, ticks[:240]), (second, ticks[240:])):
            prices = [quote.last for quote, _ in part]
            assert (prices[0], max(prices), min(prices), prices[-1]) == minute[1:5]
            assert part[-1][1][:6] == minute[:6]  # at its end the forming bar is the closed one
            assert all(quote.bid < quote.ask for quote, _ in part)
        assert len({quote.last for quote, _ in ticks}) > 10


async def test_the_same_seed_is_the_same_market_and_another_is_another(make):
    async def quotes(seed, now):
        feed, _ = make(seed)
        await feed.open(intact=True, gen=1)
        while await feed.step(now):
            pass
        return {symbol: (market.quote, market.forming) for symbol, market in feed.markets.items()}

    once = await quotes(7, NOW)
    assert await quotes(7, NOW) == once
    assert await quotes(8, NOW) != once


async def test_any_moment_is_the_same_however_it_was_reached(make):
    walked, _ = make()
    await walked.open(intact=True, gen=1)
    for at in range(NOW - 3 * 60 * MINUTE_MS, NOW, 7 * MINUTE_MS + 130):
        await walked.step(at)
    await walked.step(NOW)
    jumped, _ = make()
    await jumped.open(intact=False, gen=1)
    while await jumped.step(NOW):
        pass
    for symbol, one in walked.markets.items():
        other = jumped.markets[symbol]
        assert (one.quote, one.forming, one.last) == (other.quote, other.forming, other.last)


async def test_a_restart_goes_on_with_the_same_past(make, redis, mock_keys):
    feed, writer = make(profiles=FEW)
    await begin(feed, writer, NOW)
    later = NOW + 4 * MINUTE_MS
    feed, writer = make(profiles=FEW)
    await begin(feed, writer, later, intact=True)
    restarted = {(p.symbol, tf): hot(redis, mock_keys, p.symbol, tf) for p in FEW for tf in TIMEFRAMES}
    for key in redis.scan_iter(match=f"{mock_keys.prefix}*"):
        redis.delete(key)
    feed, writer = make(profiles=FEW)
    await begin(feed, writer, later)
    for (symbol, timeframe), found in restarted.items():
        assert hot(redis, mock_keys, symbol, timeframe) == found


async def test_a_lost_hot_store_comes_back_the_same(make, redis, mock_keys):
    feed, writer = make(profiles=FEW)
    await begin(feed, writer, NOW)
    await writer.mark()
    before = {(p.symbol, tf): hot(redis, mock_keys, p.symbol, tf) for p in FEW for tf in TIMEFRAMES}
    for key in redis.scan_iter(match=f"{mock_keys.prefix}*"):
        redis.delete(key)
    await writer.flush()
    assert writer.lost
    await writer.refill(list(feed.markets))
    for (symbol, timeframe), found in before.items():
        assert hot(redis, mock_keys, symbol, timeframe) == found


async def test_a_new_session_begins_where_the_old_one_ended(make, redis, mock_keys):
    feed, writer = make()
    midnight = NOW - NOW % 86_400_000
    await begin(feed, writer, midnight - MINUTE_MS)
    await feed.step(midnight + 1_000)
    await writer.flush()
    day = hot(redis, mock_keys, "BTCUSD", "1d")[-1]
    assert day.ts == midnight - 86_400_000
    now, before = forming(redis, mock_keys, "BTCUSD", "1d")
    assert (now.ts, before) == (midnight, day.ts)
    assert now.open == day.close
    assert float(market(redis, mock_keys, "BTCUSD")["volume"]) == now.volume


async def test_everything_says_that_it_is_simulated_and_nothing_reaches_the_database(make, redis, mock_keys):
    feed, writer = make(profiles=FEW)
    await begin(feed, writer, NOW)
    for symbol, shown in ((symbol, market(redis, mock_keys, symbol)) for symbol in feed.markets):
        assert shown["source"] == "simulated", symbol
        assert int(shown["fresh_until"]) > NOW
    assert await StoredBar.objects.acount() == 0
    assert (await Instrument.objects.aget(symbol="AAPL")).name.endswith("(simulated)")


async def test_instruments_are_made_once_and_changes_of_staff_stay(make):
    feed, writer = make()
    await begin(feed, writer, NOW)
    await Instrument.objects.filter(symbol="BTCUSD").aupdate(margin_rate="0.5")
    count = await Instrument.objects.acount()
    feed, writer = make()
    await begin(feed, writer, NOW)
    assert await Instrument.objects.acount() == count
    assert (await Instrument.objects.aget(symbol="BTCUSD")).margin_rate == 0.5


def test_all_instruments_are_sound():
    assert {
        "NIFTY50",
        "BANKNIFTY",
        "RELIANCE",
        "TCS",
        "INFY",
        "AAPL",
        "MSFT",
        "EURUSD",
        "GBPUSD",
        "BTCUSD",
        "ETHUSD",
    } <= {profile.symbol for profile in PROFILES}
    for profile in PROFILES:
        simulation = Simulation(7, profile)
        opens = simulation.session_opens(NOW - 1_500 * 86_400_000, NOW)
        days = [
            bar
            for minutes in simulation.minutes(opens)
            for bar in bars(minutes, "1d", profile.ticks_per_unit)
        ]
        assert len(days) == 1_501
        assert all(profile.price / 3 < bar.low <= bar.high < profile.price * 3 for bar in days)
        moves = [later.open / earlier.open - 1 for earlier, later in pairwise(days)]
        spread = (sum(move * move for move in moves) / len(moves)) ** 0.5
        assert spread == pytest.approx(profile.daily_move, rel=0.15)


# --- options --------------------------------------------------------------------------------------------------------


async def with_chain(make):
    feed, writer = make(profiles=FEW[:1])
    await begin(feed, writer, NOW)
    await feed.step(NOW + 1_000)
    await writer.flush()
    return feed, writer


async def test_an_index_has_a_living_chain(make, redis, mock_keys):
    feed, _ = await with_chain(make)
    assert await OptionContract.objects.filter(underlying__symbol="NIFTY50").acount() == 2 * 31 * 2
    options = [symbol for symbol in feed.markets if symbol != "NIFTY50"]
    assert len(options) == 2 * 31 * 2
    for symbol in options:
        shown = market(redis, mock_keys, symbol)
        assert float(shown["bid"]) <= float(shown["last"]) < float(shown["ask"])
        assert shown["oi"].startswith('{"oi":')
    underlying = market(redis, mock_keys, "NIFTY50")
    assert underlying["greeks"].startswith('{"expiry":"2026-11-24T10:00:00Z","strike":')
    assert set(__import__("json").loads(underlying["oi"])) == {"call", "put", "pcr", "change"}


async def test_a_chain_moves_with_its_underlying(make):
    feed, _ = await with_chain(make)
    before = {symbol: (m.quote.last, m.oi, m.greeks) for symbol, m in feed.markets.items()}
    await feed.step(NOW + 40 * MINUTE_MS)
    await feed.step(NOW + 41 * MINUTE_MS)
    changed = [
        symbol for symbol, m in feed.markets.items() if (m.quote.last, m.oi, m.greeks) != before[symbol]
    ]
    assert len(changed) > 100


async def test_a_wanted_option_gets_bars_and_an_unwanted_one_has_none(make, redis, mock_keys):
    feed, writer = await with_chain(make)
    underlying = feed.markets["NIFTY50"].quote.last
    symbol = name("NIFTY50", expiries(FEW[0], NOW)[0], round(underlying / 50) * 50, "call")
    assert forming(redis, mock_keys, symbol, "1min") is None
    gen = int(market(redis, mock_keys, symbol)["gen"])
    redis.sadd(mock_keys.wanted, f"{symbol}|1min|RSI_14")
    start = NOW + 3_000
    for at in range(start, start + 3 * MINUTE_MS, 10_000):
        await feed.step(at)
        await writer.flush()
    assert int(market(redis, mock_keys, symbol)["gen"]) > gen
    minutes = hot(redis, mock_keys, symbol, "1min")
    assert len(minutes) == 200
    assert minutes[-1].ts == (start + 3 * MINUTE_MS - 10_000) // MINUTE_MS * MINUTE_MS - MINUTE_MS
    now, before = forming(redis, mock_keys, symbol, "1min")
    assert (before, now.ts) == (minutes[-1].ts, minutes[-1].ts + MINUTE_MS)
    hours = hot(redis, mock_keys, symbol, "1h")
    inside = [bar for bar in minutes if hours[-1].ts <= bar.ts < hours[-1].ts + 60 * MINUTE_MS]
    same([hours[-1]], grouped("continuous:XNSE", inside, "1h"))
    redis.delete(mock_keys.wanted)
    await feed.step(start + 4 * MINUTE_MS)
    await writer.flush()
    assert forming(redis, mock_keys, symbol, "1min") is None


async def test_an_expired_contract_leaves_and_another_expiry_comes(make):
    feed, writer = await with_chain(make)
    expiry = expiries(FEW[0], NOW)[0]
    gone = [contract.symbol for contract in contracts(FEW[0], 24_500.0, NOW) if contract.expiry == expiry]
    await feed.step(expiry + 2_000)
    await writer.flush()
    assert not set(gone) & feed.markets.keys()
    left = {contract.expiry for contract in feed.chains["NIFTY50"].chain.contracts}
    assert left == set(expiries(FEW[0], expiry + 2_000))
    assert await Instrument.objects.filter(symbol__in=gone, active=True).acount() == 0


def test_the_feed_is_the_default():
    assert FeedSpec.parse("simulated").mock
