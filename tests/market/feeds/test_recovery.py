"""Bars taken up where an earlier feed left them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.core.bars import MINUTE_MS, TIMEFRAMES, TickBars
from stocksblitz.market.feeds.external.recovery import restore

START = 1_795_219_200_000 - 30 * MINUTE_MS
steps = st.lists(
    st.tuples(st.integers(0, 3 * MINUTE_MS), st.integers(1, 999).map(float), st.integers(0, 9).map(float)),
    max_size=120,
)


def sessions(ts):
    return calendars.session_at("24x7", ts)


def run(builder, trades, at):
    closed = []
    for step, price, volume in trades:
        at += step
        closed += builder.pass_time(at)
        closed += builder.tick(at, price, volume)
    return closed, at


@settings(max_examples=100, deadline=None)
@given(steps, steps, st.integers(0, 40 * MINUTE_MS), st.integers(0, 5), st.integers(20, 2_000))
def test_killed_anywhere_it_goes_on_as_if_nothing_had_been(before, after, quiet, unwritten, kept):
    """``quiet``: time without ticks before the end; ``unwritten``: larger bars that were closed and not written;
    ``kept``: minutes that the hot store still has."""
    whole = TickBars(sessions)
    first, at = run(whole, before, START)
    at += quiet
    first += whole.pass_time(at)
    written = list(first)
    for each in reversed(first):
        if each[0] == "1min" or not unwritten:
            break
        written.pop()
        unwritten -= 1
    last, forming = {timeframe: bar.ts for timeframe, bar in written}, whole.forming()
    minutes = [bar for timeframe, bar in written if timeframe == "1min"][-kept:]
    resumed = TickBars(sessions)
    again = restore(resumed, minutes, last, forming) + resumed.pass_time(at)
    assert resumed.ladder.last == whole.ladder.last
    assert resumed.forming() == whole.forming()
    resumed.newest = whole.newest
    one, two = run(whole, after, at)[0], run(resumed, after, at)[0]
    end = at + 10 * 86_400_000
    one, two = one + whole.pass_time(end), two + resumed.pass_time(end)
    everything = sorted({(tf, bar.ts): bar for tf, bar in [*first, *one]}.items())
    assert sorted({(tf, bar.ts): bar for tf, bar in [*written, *again, *two]}.items()) == everything
    for timeframe in TIMEFRAMES:
        starts = [bar.ts for tf, bar in [*written, *again, *two] if tf == timeframe]
        assert starts == sorted(set(starts))


def test_nothing_left_behind_is_a_beginning():
    bars = TickBars(sessions)
    assert restore(bars, [], {}, {}) == []
    assert bars.forming() == {}
    assert bars.tick(START, 10.0, 1.0) == []
