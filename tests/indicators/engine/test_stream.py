"""The stream of one (symbol, timeframe) computes each indicator once, and no bar stops it."""

import math

import pytest

from indicators.engine import kernels
from indicators.engine.spec import parse
from indicators.engine.stream import Stream, clean, series
from stocksblitz.market.core.bars import Bar
from tests.indicators.engine.data import COMMON, MINUTE, agree, parts_of, random_bars

BARS = random_bars(1500, seed=2)
MIX = [parse(text) for text in COMMON]


def same(one, other, bar):
    """Equal as readiness promises."""
    for id, (value, ready) in one.items():
        parts = parse(id).entry.parts
        pairs = zip(parts_of(value, parts), parts_of(other[id][0], parts), strict=True)
        if ready is not other[id][1] or not all(agree(a, b, bar.close) for a, b in pairs):
            return False
    return one.keys() == other.keys()


def test_values_are_the_same_wherever_the_stream_was_opened():
    whole, opened = Stream(), Stream(BARS[:1200])
    whole.set_indicators(MIX)
    opened.set_indicators(MIX)
    for bar in BARS[:1200]:
        last = whole.update(bar)
    assert whole.last_values() == last
    assert same(opened.last_values(), last, BARS[1199])
    for bar in BARS[1200:]:
        values = whole.peek(bar)
        assert values == whole.update(bar)
        assert opened.peek(bar) == opened.update(bar)
        assert same(opened.last_values(), values, bar)
    assert all(ready for _, ready in whole.peek(BARS[-1]).values())


def test_wanting_more_and_less():
    stream = Stream(BARS[:600])
    rsi, sma = parse("RSI_14"), parse("SMA_20")
    stream.set_indicators([rsi])
    assert set(stream.update(BARS[600])) == {"RSI_14"}
    assert len(stream.bars) == rsi.history
    stream.set_indicators([rsi, sma])  # opened from the bars that are held
    both = stream.update(BARS[601])
    assert both["SMA_20"] == (pytest.approx(sum(b.close for b in BARS[582:602]) / 20), True)
    stream.set_indicators([sma])
    assert set(stream.peek(BARS[602])) == {"SMA_20"}
    assert len(stream.bars) == sma.history
    stream.set_indicators(
        [sma, parse("EMA_50")], BARS[:650]
    )  # up to the last closed bar, those after it are not known yet
    assert stream.peek(BARS[602])["EMA_50"][1]
    fresh = Stream(BARS[:602])
    fresh.set_indicators([parse("EMA_50")])
    assert stream.peek(BARS[602])["EMA_50"] == fresh.peek(BARS[602])["EMA_50"]


def test_a_kernel_that_is_kept_is_not_opened_again():
    stream = Stream(BARS[:300])
    stream.set_indicators([parse("OBV")])
    before = stream.last_values()
    stream.set_indicators([parse("OBV"), parse("SMA_20")], BARS[250:300])
    assert stream.last_values()["OBV"] == before["OBV"]


def test_bars_that_were_seen_change_nothing():
    stream = Stream(BARS[:100])
    stream.set_indicators(MIX)
    before = stream.peek(BARS[100])
    assert stream.update(BARS[99]) == stream.update(BARS[5]) == {}
    assert stream.peek(BARS[100]) == before
    assert stream.last_ts == BARS[99].ts


@pytest.mark.parametrize(
    "bad",
    [
        {"close": math.nan},
        {"open": math.inf},
        {"high": -math.inf},
        {"low": None},
        {"close": "12"},
        {"close": 1e300},
        {"open": 10**400},
    ],
)
def test_a_bar_without_prices_has_no_values_and_leaves_no_trace(bad):
    with_it, without = Stream(BARS[:500]), Stream(BARS[:500])
    with_it.set_indicators(MIX)
    without.set_indicators(MIX)
    broken = BARS[500]._replace(**bad)
    assert set(with_it.peek(broken).values()) == {(None, False)}
    assert set(with_it.update(broken).values()) == {(None, False)}
    assert with_it.last_ts == broken.ts
    assert with_it.update(BARS[501]) == without.update(BARS[501])
    assert not with_it.broken


@pytest.mark.parametrize("volume", [None, math.nan, -5.0, math.inf, "x", 0])
def test_a_volume_that_is_none_counts_as_zero(volume):
    bar = clean(BARS[0]._replace(volume=volume))
    assert bar is None if volume == "x" else bar == BARS[0]._replace(volume=0.0)


def test_one_broken_indicator_never_stops_the_others(monkeypatch):
    def failing(length):
        def step(keep, bar):
            if bar.ts > 320 * MINUTE:
                raise ZeroDivisionError("no")
            return 1.0

        return step

    monkeypatch.setitem(kernels.FACTORIES, "SMA", failing)
    monkeypatch.setitem(kernels.FACTORIES, "WMA", lambda length: 1 / 0)
    stream = Stream(BARS[:300])
    stream.set_indicators([parse("SMA_20"), parse("RSI_14"), parse("WMA_10")])
    assert set(stream.broken) == {"WMA_10"}
    for bar in BARS[300:340]:
        values = stream.update(bar)
        assert values["RSI_14"][1]
        assert values["WMA_10"] == (None, False)
        assert (values["SMA_20"] == (None, False)) is (bar.ts > 320 * MINUTE)
    assert stream.broken["SMA_20"] == "ZeroDivisionError('no')"
    assert {spec.id for spec in stream.specs} == {"RSI_14"}
    monkeypatch.undo()
    stream.set_indicators([parse("RSI_14")])
    assert stream.broken == {}
    stream.set_indicators([parse("RSI_14"), parse("SMA_20")])  # wanted anew: opened anew
    assert set(stream.update(BARS[340])) == {"RSI_14", "SMA_20"}


def test_a_stream_without_indicators_and_bars_has_no_values():
    stream = Stream()
    assert stream.peek(BARS[0]) == stream.update(BARS[0]) == stream.last_values() == {}
    stream.set_indicators(MIX)
    assert stream.peek(BARS[1])["RSI_14"] == (None, False)


def test_memory_is_bounded():
    stream = Stream()
    for bar in random_bars(3500):
        stream.update(bar)
    assert len(stream.bars) == 3000
    stream.set_indicators([parse("SMA_20")])
    assert len(stream.bars) == 20


def test_series_equals_the_history_of_the_stream():
    spec = parse("RSI_14")
    stream = Stream()
    stream.set_indicators([spec])
    wanted = [stream.update(bar)["RSI_14"][0] for bar in BARS[:400]]
    assert series(spec, BARS[:400], 400) == wanted
    assert series(spec, BARS[:400], 50) == wanted[-50:]
    assert series(spec, BARS[:400], 0) == []
    assert wanted[: spec.warmup - 1] == [None] * (spec.warmup - 1)
    assert None not in wanted[spec.warmup - 1 :]
    assert series(spec, [], 10) == []
    assert series(spec, BARS[:5], 10) == [None] * 5


def test_vwap_begins_with_the_session():
    bars = [Bar((i + 1) * MINUTE, 10, 12, 8, 10 + i, 5.0, 3 * MINUTE if i >= 2 else -9) for i in range(5)]
    stream = Stream()
    stream.set_indicators([parse("VWAP")])
    values = [stream.update(bar)["VWAP"] for bar in bars]
    assert values[:2] == [(None, False)] * 2  # the session before may have begun earlier
    assert values[3] == (pytest.approx(((12 + 8 + 12) / 3 + (12 + 8 + 13) / 3) / 2), True)
    silent = Stream()
    silent.set_indicators([parse("VWAP")])
    assert all(silent.update(bar._replace(volume=0.0))["VWAP"][0] is None for bar in bars)
