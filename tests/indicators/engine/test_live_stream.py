"""Frames of one stream, without a worker around it."""

import orjson

from indicators.engine.live_stream import Batch, LiveStream, StreamPosition
from stocksblitz.market.core.market_hash import FeedState
from tests.indicators.engine.data import random_bars


def written_at(flushed: int) -> FeedState:
    return FeedState("1", "simulated", None, None, None, flushed)


def test_delivery_lag_counts_from_the_feeds_flush_and_once_for_each():
    bars = random_bars(10)
    live = LiveStream("BTCUSD", "1min", "a.1", written_at(1_000))
    live.begin(bars[:8], [], StreamPosition(), 5_000)

    def flushed_of(take) -> list[int]:
        take(batch := Batch())
        frames = [*batch.logged, *([batch.forming] if batch.forming else [])]
        return [orjson.loads(frame)["flushed"] for frame in frames]

    live.feed = written_at(2_000)
    assert flushed_of(lambda batch: live.close([bars[8]], batch, 5_000)) == [2_000]
    assert flushed_of(lambda batch: live.peek(bars[9], bars[8].ts, batch, 5_000)) == [0]
    live.feed = written_at(3_000)
    assert flushed_of(lambda batch: live.peek(bars[9], bars[8].ts, batch, 5_000)) == [3_000]
    assert flushed_of(lambda batch: live.repeat(batch, 9_000)) == [0], "a repeated state is no new flush"
