"""Metrics of all processes, added up in Redis, so that any web process can serve the whole.

Counters are sent as differences and stay after their process has ended; gauges expire with their process. Series of
single indicators are bounded: those without a subscriber are dropped, and their sums are kept.
"""

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
from prometheus_client import Metric
from redis.exceptions import RedisError

from stocksblitz.observability import metrics
from stocksblitz.redis.client import realm_keys, sync_client
from stocksblitz.redis.scripts import register
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

PUSH_S = 1.0
GAUGES_S = 10
"""How long a process's gauges count after its last push."""
UNUSED_MS = 600_000
"""A series of one indicator without a subscriber is dropped after this long without a change."""


class Series(NamedTuple):
    """One time series: the name of a sample and its labels."""

    name: str
    labels: tuple[tuple[str, str], ...]

    def dump(self) -> bytes:
        return orjson.dumps([self.name, self.labels])

    @classmethod
    def load(cls, raw: bytes) -> "Series":
        name, labels = orjson.loads(raw)
        return cls(name, tuple((key, value) for key, value in labels))

    @property
    def computation(self) -> tuple[str, str, str] | None:
        """Symbol, timeframe and indicator of a series of one indicator; None for any other series."""
        by = dict(self.labels)
        return (
            (by["symbol"], by["timeframe"], by["indicator"]) if by.keys() >= {"symbol", "indicator"} else None
        )


type Source = Callable[[], Iterable[tuple[Series, float]]]
sources: list[Source] = []
"""Functions that read gauges when metrics are served; apps add theirs."""


def _name(*parts: str) -> str:
    return realm_keys(mock=False).name("metrics", *parts)


def _samples() -> Iterator[tuple[str, Series, float]]:
    for metric in metrics.REGISTRY.collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                yield metric.type, Series(sample.name, tuple(sorted(sample.labels.items()))), sample.value


class ProcessMetrics:
    """The metrics that one process pushes to Redis; threads may share it."""

    def __init__(self) -> None:
        self.me = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._pushed: dict[Series, float] = {}
        self._changed: dict[Series, float] = {}
        self._unconfirmed: tuple[int, list[tuple[Series, float]]] | None = None
        self._seq = 0
        self._lock = threading.Lock()

    def push(self) -> None:
        """Send what was counted since the last push; what cannot be sent now goes with the next one."""
        with self._lock:
            gauges: dict[bytes, float] = {}
            deltas: list[tuple[Series, float]] = []
            for kind, series, value in _samples():
                if kind == "gauge":
                    gauges[series.dump()] = value
                elif delta := value - self._pushed.get(series, 0.0):
                    deltas.append((series, delta))
            self._push_counters(deltas)
            self._push_gauges(gauges)
            self._forget_unchanged()

    def _push_counters(self, deltas: list[tuple[Series, float]]) -> None:
        """Push the differences; a push whose answer was lost is repeated unchanged, with its number."""
        if self._unconfirmed is None:
            if not deltas:
                return
            self._seq += 1
            self._unconfirmed = (self._seq, deltas)
        seq, sent = self._unconfirmed
        args: list[Any] = [seq, now_ms()]
        for series, delta in sent:
            args += [
                series.dump(),
                Series(series.name, ()).dump() if series.computation else b"",
                repr(delta),
            ]
        names = [_name("counters"), _name("sums"), _name("changed"), _name("seq", self.me)]
        register(sync_client(), __file__, "push_counters")(keys=names, args=args)
        self._unconfirmed = None
        now = time.monotonic()
        for series, delta in sent:
            self._pushed[series] = self._pushed.get(series, 0.0) + delta
            self._changed[series] = now

    def _push_gauges(self, gauges: dict[bytes, float]) -> None:
        pipe = sync_client().pipeline(transaction=False)
        pipe.zadd(_name("processes"), {self.me: now_ms()})
        if gauges:
            pipe.hset(_name("gauges", self.me), mapping=gauges)
            pipe.expire(_name("gauges", self.me), GAUGES_S)
        pipe.execute()

    def _forget_unchanged(self) -> None:
        """Remove series of single indicators that no longer change from this process's memory."""
        since = time.monotonic() - UNUSED_MS / 1000
        for series in [s for s, at in self._changed.items() if at < since and s.computation]:
            del self._changed[series], self._pushed[series]
            for metric in (
                metrics.cache_hits,
                metrics.cache_misses,
                metrics.computations,
                metrics.subscriptions,
            ):
                if series.name.startswith(metric._name):
                    with suppress(KeyError):
                        metric.remove(*series.computation or ())


_process_metrics: ProcessMetrics | None = None
_making = threading.Lock()


def process_metrics() -> ProcessMetrics:
    """Return the metrics of this process; a forked child gets its own."""
    global _process_metrics
    with _making:
        if _process_metrics is None or not _process_metrics.me.startswith(f"{os.getpid()}-"):
            _process_metrics = ProcessMetrics()
        return _process_metrics


def push() -> None:
    """Push once; nothing happens while Redis is away."""
    with suppress(RedisError, OSError):
        process_metrics().push()


async def run(stop: asyncio.Event) -> None:
    """Push every second until the stop: the side task of a worker."""
    while not stop.is_set():
        await asyncio.to_thread(push)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PUSH_S)
    await asyncio.to_thread(push)


_due = threading.Event()


def _push_forever() -> None:
    while True:
        push()
        _due.wait(PUSH_S)
        _due.clear()


def soon() -> None:
    """Have the web process push now: it may end before its next push is due."""
    _due.set()


started = threading.Event()


def start() -> None:
    """Start the thread that pushes for a web process, once; it ends with the process."""
    if not started.is_set():
        started.set()
        threading.Thread(target=_push_forever, name="metrics", daemon=True).start()


# --- reading ----------------------------------------------------------------------------------------------------------


def totals() -> dict[str, float]:
    """Return the sums over all labels of the counters of single indicators, by sample name."""
    return {
        Series.load(raw).name: float(value) for raw, value in sync_client().hgetall(_name("sums")).items()
    }


def counter(name: str) -> float:
    """Return the value of a counter without labels."""
    return float(sync_client().hget(_name("counters"), Series(name, ()).dump()) or 0)


def drop(subscribed: set[tuple[str, str, str]]) -> int:
    """Drop series without a subscriber that did not change for `UNUSED_MS`; return how many."""
    old = sync_client().zrangebyscore(_name("changed"), "-inf", now_ms() - UNUSED_MS)
    unused = [raw for raw in old if Series.load(raw).computation not in subscribed]
    if unused:
        pipe = sync_client().pipeline(transaction=False)
        pipe.hdel(_name("counters"), *unused)
        pipe.zrem(_name("changed"), *unused)
        pipe.execute()
    return len(unused)


def gathered() -> dict[Series, float]:
    """Return every series of all living processes: counters added up, gauges, and what the sources say."""
    redis, alive = sync_client(), now_ms() - GAUGES_S * 1000
    redis.zremrangebyscore(_name("processes"), "-inf", alive)
    processes = [raw.decode() for raw in redis.zrange(_name("processes"), 0, -1)]
    pipe = redis.pipeline(transaction=False)
    pipe.hgetall(_name("counters"))
    for process in processes:
        pipe.hgetall(_name("gauges", process))
    found: dict[Series, float] = {}
    for answer in pipe.execute():
        for raw, value in answer.items():
            series = Series.load(raw)
            found[series] = found.get(series, 0.0) + float(value)
    for source in sources:
        found.update(source())
    return found


def render() -> str:
    """Return the metrics of all processes in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    push()
    values: dict[str, list[tuple[Series, float]]] = {}
    for series, value in gathered().items():
        values.setdefault(series.name, []).append((series, value))
    registry = CollectorRegistry()
    registry.register(_GatheredMetrics(values))
    return generate_latest(registry).decode()


class _GatheredMetrics:
    """Collector of the gathered series, with the descriptions of this process's registry."""

    def __init__(self, values: dict[str, list[tuple[Series, float]]]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for own in metrics.REGISTRY.collect():
            metric = Metric(own.name, own.documentation, own.type)
            for suffix in ("", "_total", "_bucket", "_count", "_sum"):
                for series, value in sorted(self._values.get(own.name + suffix, ())):
                    metric.add_sample(series.name, dict(series.labels), value)
            yield metric
