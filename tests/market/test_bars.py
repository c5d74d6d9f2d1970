"""Ticks to bars."""

import math
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.core.bars import MINUTE_MS, TIMEFRAMES, Bar, Ladder, TickBars, fault
from tests.market.exchange_times import bar_open, is_open


def ms(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def sessions(exchange):
    return lambda ts: calendars.session_at(exchange, ts)


EXCHANGES = {
    "24x7": ms("2026-11-18T00:00:00Z"),
    "XNSE": ms("2026-11-20T09:15:00+05:30"),
    "24x5": ms("2026-11-20T17:00:00-05:00") - 4 * 3_600_000,
    "XNYS": ms("2026-11-25T09:30:00-05:00"),
}

ticks = st.lists(
    st.tuples(
        st.integers(0, 4 * MINUTE_MS),  # to the tick before
        st.integers(1, 10_000).map(lambda cents: cents / 100),
        st.integers(0, 50).map(float),
    ),
    max_size=300,
)


def independent(exchange, trades):
    """Bars grouped the plain way, from all accepted trades at once."""
    bars = {}
    for timeframe in TIMEFRAMES:
        groups = {}
        for ts, price, volume in trades:
            groups.setdefault(bar_open(exchange, timeframe, ts), []).append((ts, price, volume))
        for start, group in groups.items():
            prices = [price for _, price, _ in group]
            volume = sum(volume for _, _, volume in group)
            session = calendars.session_at(exchange, group[0][0]).open
            bars[timeframe, start] = Bar(
                start, prices[0], max(prices), min(prices), prices[-1], volume, session
            )
    return bars


@settings(deadline=None)
@given(st.sampled_from(sorted(EXCHANGES)), ticks, st.booleans())
def test_every_bar_holds_exactly_its_trades(exchange, steps, by_clock):
    builder, at, trades, closed = TickBars(sessions(exchange)), EXCHANGES[exchange], [], []
    for step, price, volume in steps:
        at += step
        if by_clock:
            closed += builder.pass_time(at)
        closed += builder.tick(at, price, volume)
        if is_open(exchange, at):
            trades.append((at, price, volume))
    assert builder.refused.total() == len(steps) - len(trades)
    forming = builder.forming()
    found = {(timeframe, bar.ts): bar for timeframe, bar in [*closed, *forming.items()]}
    assert len(found) == len(closed) + len(forming)
    assert found == independent(exchange, trades)
    for timeframe in TIMEFRAMES:
        starts = [bar.ts for name, bar in closed if name == timeframe]
        assert starts == sorted(set(starts))
        if starts:
            assert builder.ladder.last[timeframe] == starts[-1]


@settings(deadline=None)
@given(st.sampled_from(sorted(EXCHANGES)), ticks)
def test_larger_bars_are_the_aggregate_of_the_smallest(exchange, steps):
    builder, at, closed = TickBars(sessions(exchange)), EXCHANGES[exchange], []
    for step, price, volume in steps:
        at += step
        closed += builder.tick(at, price, volume)
    closed += builder.pass_time(at + 10 * 86_400_000)
    assert not builder.forming()
    again = Ladder(sessions(exchange))
    rebuilt = [each for name, bar in closed if name == "1min" for each in again.add(bar)]
    rebuilt += again.pass_time(at + 10 * 86_400_000)
    assert sorted(rebuilt) == sorted(closed)


def test_a_bar_closes_when_the_clock_passes_its_end_and_not_before():
    start = ms("2026-11-18T10:00:00Z")
    builder = TickBars(sessions("24x7"))
    builder.tick(start + 1_000, 10.0, 1.0)
    assert builder.pass_time(start + MINUTE_MS - 1) == []
    minute = Bar(start, 10.0, 10.0, 10.0, 10.0, 1.0, ms("2026-11-18T00:00:00Z"))
    assert builder.pass_time(start + MINUTE_MS) == [("1min", minute)]
    assert set(builder.forming()) == set(TIMEFRAMES) - {"1min"}
    assert builder.pass_time(start + 3 * MINUTE_MS) == [("3min", minute)]


def test_the_end_of_the_session_closes_every_bar():
    builder = TickBars(sessions("XNSE"))
    builder.tick(ms("2026-11-20T15:20:00+05:30"), 10.0, 1.0)
    closed = builder.pass_time(ms("2026-11-20T15:30:00+05:30"))
    assert {timeframe: bar.ts for timeframe, bar in closed} == {
        "1min": ms("2026-11-20T15:20:00+05:30"),
        "3min": ms("2026-11-20T15:18:00+05:30"),
        "5min": ms("2026-11-20T15:20:00+05:30"),
        "15min": ms("2026-11-20T15:15:00+05:30"),
        "30min": ms("2026-11-20T15:15:00+05:30"),
        "1h": ms("2026-11-20T15:15:00+05:30"),
        "4h": ms("2026-11-20T13:15:00+05:30"),
        "1d": ms("2026-11-20T09:15:00+05:30"),
    }


def test_a_time_without_trades_has_no_bar():
    start = ms("2026-11-18T10:00:00Z")
    builder, closed = TickBars(sessions("24x7")), []
    for minute in (0, 7, 8):
        closed += builder.tick(start + minute * MINUTE_MS, 10.0, 1.0)
        closed += builder.pass_time(start + minute * MINUTE_MS + 1)
    assert [bar.ts - start for name, bar in closed if name == "1min"] == [0, 7 * MINUTE_MS]


@pytest.mark.parametrize(
    ("price", "volume", "reason"),
    [
        (math.nan, 1.0, "bad_price"),
        (math.inf, 1.0, "bad_price"),
        (0.0, 1.0, "bad_price"),
        (-1.0, 1.0, "bad_price"),
        (10.0, math.nan, "bad_volume"),
        (10.0, -1.0, "bad_volume"),
    ],
)
def test_bad_numbers_are_counted_and_change_nothing(price, volume, reason):
    builder = TickBars(sessions("24x7"))
    builder.tick(ms("2026-11-18T10:00:00Z"), 10.0, 1.0)
    before = builder.forming()
    assert builder.tick(ms("2026-11-18T10:07:00Z"), price, volume) == []
    assert builder.refused == {reason: 1}
    assert builder.forming() == before


def test_late_ticks_are_counted_and_change_nothing():
    builder = TickBars(sessions("24x7"))
    builder.tick(ms("2026-11-18T10:05:30Z"), 10.0, 1.0)
    before = builder.forming()
    builder.tick(ms("2026-11-18T10:05:29Z"), 99.0, 1.0)
    builder.tick(ms("2026-11-18T10:04:00Z"), 99.0, 1.0)
    assert builder.forming() == before
    builder.pass_time(ms("2026-11-18T10:06:00Z"))
    builder.tick(ms("2026-11-18T10:05:59Z"), 99.0, 1.0)  # its bar is closed by the clock
    assert builder.refused == {"late": 3}


def test_a_tick_while_the_exchange_is_closed_makes_no_bar():
    builder = TickBars(sessions("XNSE"))
    assert builder.tick(ms("2026-11-21T12:00:00+05:30"), 10.0, 1.0) == []
    assert builder.refused == {"closed_exchange": 1}
    assert builder.forming() == {}


def test_the_closing_print_joins_the_last_bar_while_that_is_forming():
    builder = TickBars(sessions("XNYS"))
    builder.tick(ms("2026-11-25T20:59:58Z"), 10.0, 1.0)
    builder.tick(ms("2026-11-25T21:00:00Z"), 11.0, 5.0)
    assert builder.forming()["1min"][:6] == (ms("2026-11-25T20:59:00Z"), 10.0, 11.0, 10.0, 11.0, 6.0)


@pytest.mark.parametrize(
    ("base", "larger"),
    [("1min", "3min 5min 15min 30min 1h 4h 1d"), ("3min", "15min 30min 1h 4h 1d"), ("5min", "15min 30min 1h 4h 1d"),
     ("1h", "4h 1d"), ("1d", "")],
)  # fmt: skip
def test_timeframes_are_built_from_one_that_divides_them(base, larger):
    assert list(Ladder(sessions("24x7"), base).larger) == larger.split()


def test_a_row_after_the_close_belongs_to_the_last_bar_of_every_larger_timeframe():
    ladder = Ladder(sessions("XNYS"))
    last, auction = ms("2020-12-15T20:59:00Z"), ms("2020-12-15T21:00:00Z")
    closed = ladder.add(Bar(last, 10.0, 11.0, 9.0, 10.5, 5.0)) + ladder.begin(auction)
    assert [timeframe for timeframe, _ in closed] == ["1min"]
    closed += ladder.add(Bar(auction, 10.5, 12.0, 10.0, 11.0, 7.0)) + ladder.begin(ms("2020-12-16T14:30:00Z"))
    found = {timeframe: bar for timeframe, bar in closed if timeframe != "1min"}
    assert set(found) == set(TIMEFRAMES) - {"1min"}
    for bar in found.values():
        assert bar[1:6] == (10.0, 12.0, 9.0, 11.0, 12.0)
    assert found["5min"].ts == ms("2020-12-15T20:55:00Z")


@pytest.mark.parametrize(
    "numbers",
    [
        (1, 2, 0.5, math.nan, 1),
        (1, 2, 0, 1, 1),
        (1, 0.9, 0.5, 0.8, 1),
        (1, 2, 1.5, 1.8, 1),
        (1, 2, 0.5, 1, -1),
    ],
)
def test_faulty_bars_are_told_apart(numbers):
    assert fault(Bar(0, *map(float, numbers)))


def test_a_sound_bar_has_no_fault():
    assert fault(Bar(0, 1.0, 2.0, 0.5, 1.5, 0.0)) is None
    assert fault(Bar(0, 1e-8, 1e-8, 1e-8, 1e-8, 0.0)) is None
