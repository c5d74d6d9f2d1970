"""What compute does, as metrics: the values of each stream, and the indicators that an error stopped."""

import logging
from typing import Any

from indicators.engine.live_stream import Batch, LiveStream
from indicators.worker.active_streams import StreamId
from stocksblitz.observability import metrics

log = logging.getLogger(__name__)


class ComputeCounters:
    """``computed``: values so far, of all streams."""

    def __init__(self) -> None:
        self.computed = 0
        self._counters: dict[StreamId, list[Any]] = {}
        self._broken: dict[StreamId, set[str]] = {}

    def count(self, stream: StreamId, live: LiveStream, batch: Batch) -> None:
        frames = len(batch.logged) + (batch.forming is not None)
        counters = self._counters.get(stream)
        if counters is None:
            counters = self._counters[stream] = [
                metrics.computations.labels(*stream, each) for each in live.ids
            ]
        for counter in counters:
            counter.inc(frames)
        self.computed += frames * len(counters)
        if live.broken or stream in self._broken:
            self._tell_broken(stream, live.broken)

    def _tell_broken(self, stream: StreamId, broken: dict[str, str]) -> None:
        """Each once, until it is wanted anew."""
        for each in broken.keys() - self._broken.get(stream, set()):
            metrics.broken_indicators.labels(each).inc()
            log.error("%s of %s %s: %s", each, *stream, broken[each], extra={"action": "indicator_broken"})
        self._broken[stream] = set(broken)

    def change(self, stream: StreamId) -> None:
        """Other indicators are wanted of it from now on."""
        self._counters.pop(stream, None)

    def forget(self, stream: StreamId) -> None:
        self._counters.pop(stream, None)
        self._broken.pop(stream, None)
