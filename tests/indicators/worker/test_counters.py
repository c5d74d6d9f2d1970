"""Operators see how many values were computed, and which indicators an error stopped."""

from indicators.engine import kernels
from indicators.engine.live_stream import Batch, LiveStream, StreamPosition
from indicators.engine.spec import parse
from indicators.worker.counters import ComputeCounters
from stocksblitz.market.core.market_hash import FeedState
from stocksblitz.observability.metrics import REGISTRY
from tests.indicators.engine.data import random_bars

STREAM = ("TALLY", "1min")


def broken() -> float:
    return REGISTRY.get_sample_value("stocksblitz_broken_indicators_total", {"indicator": "SMA_20"}) or 0.0


def test_a_broken_indicator_is_counted_once_until_it_is_computed_again(monkeypatch):
    bars, counters, before = random_bars(60), ComputeCounters(), broken()
    monkeypatch.setitem(kernels.FACTORIES, "SMA", lambda length: 1 / 0)
    live = LiveStream(*STREAM, "a.1", FeedState("", None, None, None, None))
    batch = live.begin(bars, [parse("SMA_20"), parse("RSI_14")], StreamPosition(), 0)
    counters.count(STREAM, live, batch)
    counters.count(STREAM, live, Batch())
    assert (broken() - before, counters.computed) == (1, 2)
    live.set_indicators([parse("RSI_14")], bars)
    counters.change(STREAM)
    counters.count(STREAM, live, Batch())
    live.set_indicators([parse("RSI_14"), parse("SMA_20")], bars)
    counters.change(STREAM)
    counters.count(STREAM, live, Batch())
    assert broken() - before == 2
