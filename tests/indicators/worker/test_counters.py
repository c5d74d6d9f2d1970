"""What operators see of compute: values, and indicators that an error stopped."""

from indicators.engine import kernels
from indicators.engine.live_stream import Batch, LiveStream, StreamPosition, StreamQuote
from indicators.engine.spec import parse
from indicators.worker.counters import ComputeCounters
from stocksblitz.observability.metrics import REGISTRY
from tests.indicators.engine.data import random_bars

STREAM = ("TALLY", "1min")


def broken() -> float:
    return REGISTRY.get_sample_value("stocksblitz_broken_indicators_total", {"indicator": "SMA_20"}) or 0.0


def test_an_indicator_that_breaks_is_told_once_until_it_is_wanted_anew(monkeypatch):
    bars, tally, before = random_bars(60), ComputeCounters(), broken()
    monkeypatch.setitem(kernels.FACTORIES, "SMA", lambda length: 1 / 0)
    live = LiveStream(*STREAM, "a.1", StreamQuote())
    batch = live.begin(bars, [parse("SMA_20"), parse("RSI_14")], StreamPosition(), 0)
    tally.count(STREAM, live, batch)
    tally.count(STREAM, live, Batch())
    assert (broken() - before, tally.computed) == (1, 2)
    live.want([parse("RSI_14")], bars)
    tally.change(STREAM)
    tally.count(STREAM, live, Batch())
    live.want([parse("RSI_14"), parse("SMA_20")], bars)
    tally.change(STREAM)
    tally.count(STREAM, live, Batch())
    assert broken() - before == 2
