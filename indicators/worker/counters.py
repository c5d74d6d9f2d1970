"""Metrics of computing: the values of each stream, and the indicators that an error stopped."""

import logging
from typing import Any

from indicators.engine.live_stream import Batch, LiveStream
from indicators.worker.active_streams import StreamId
from stocksblitz.observability import metrics

log = logging.getLogger(__name__)


class ComputeCounters:
    """Counts what one worker computes; ``computed``: values so far, of all streams."""

    def __init__(self) -> None:
        self.computed = 0
        self._counters: dict[StreamId, list[Any]] = {}
        self._broken: dict[StreamId, set[str]] = {}

    def count(self, stream: StreamId, live: LiveStream, batch: Batch) -> None:
        frames = len(batch.logged) + (batch.forming is not None)
        counters = self._counters.get(stream)
        if counters is None:
            counters = self._counters[stream] = [
                metrics.computations.labels(*stream, indicator) for indicator in live.ids
            ]
        for counter in counters:
            counter.inc(frames)
        self.computed += frames * len(counters)
        if live.broken or stream in self._broken:
            self._report_broken(stream, live.broken)

    def _report_broken(self, stream: StreamId, broken: dict[str, str]) -> None:
        """Count and log each broken indicator once, until it is computed again."""
        for indicator in broken.keys() - self._broken.get(stream, set()):
            metrics.broken_indicators.labels(indicator).inc()
            fields = {"indicator": indicator, "symbol": stream[0], "timeframe": stream[1]}
            log.error(
                "indicator stopped: %s", broken[indicator], extra={"action": "indicator_broken", **fields}
            )
        self._broken[stream] = set(broken)

    def change(self, stream: StreamId) -> None:
        """Note that the stream has other indicators from now on."""
        self._counters.pop(stream, None)

    def forget(self, stream: StreamId) -> None:
        self._counters.pop(stream, None)
        self._broken.pop(stream, None)
