"""What each process counts, added up in Redis, so that any web process can show the whole.

Counters go as differences and stay after their process has gone; gauges live as long as their process says so. Series of
single indicators are bounded by demand: the ones nobody wants any more are dropped, their sums are kept.
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
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

PUSH_S = 1.0
GAUGES_S = 10
"""How long a process's gauges count after its last word."""
UNUSED_MS = 600_000
"""After so long without change a series of one indicator is forgotten, unless somebody wants it."""


class Series(NamedTuple):
    """One line of Prometheus: the sample's name and its labels."""

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
        """Symbol, timeframe and indicator, for the series of one indicator."""
        by = dict(self.labels)
        return (
            (by["symbol"], by["timeframe"], by["indicator"]) if by.keys() >= {"symbol", "indicator"} else None
        )


# A push that is said twice counts once.
# KEYS counters sums changed sequence; ARGV seq now (field, field of its sum or empty, delta)...
_PUSH = """
if tonumber(redis.call('GET', KEYS[4]) or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[4], ARGV[1], 'EX', 3600)
for i = 3, #ARGV, 3 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 2])
  if ARGV[i + 1] ~= '' then
    redis.call('HINCRBYFLOAT', KEYS[2], ARGV[i + 1], ARGV[i + 2])
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[i])
  end
end
return 1
"""

type Source = Callable[[], Iterable[tuple[Series, float]]]
sources: list[Source] = []
"""Gauges that are read when asked for, not counted: apps add theirs."""


def _name(*parts: str) -> str:
    return realm_keys(mock=False).name("metrics", *parts)


def _samples() -> Iterator[tuple[str, Series, float]]:
    for metric in metrics.REGISTRY.collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                yield metric.type, Series(sample.name, tuple(sorted(sample.labels.items()))), sample.value


class Mirror:
    """This process's share; `push` may be called by anybody at any time."""

    def __init__(self) -> None:
        self.me = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._told: dict[Series, float] = {}
        self._changed: dict[Series, float] = {}
        self._unsure: tuple[int, list[tuple[Series, float]]] | None = None
        self._seq = 0
        self._lock = threading.Lock()

    def push(self) -> None:
        """Add what was counted since; what cannot be told now goes with the next push."""
        with self._lock:
            gauges: dict[bytes, float] = {}
            deltas: list[tuple[Series, float]] = []
            for kind, series, value in _samples():
                if kind == "gauge":
                    gauges[series.dump()] = value
                elif delta := value - self._told.get(series, 0.0):
                    deltas.append((series, delta))
            self._tell(deltas)
            self._tell_gauges(gauges)
            self._forget()

    def _tell(self, deltas: list[tuple[Series, float]]) -> None:
        """A push whose answer was lost is said again unchanged, under its number."""
        if self._unsure is None:
            if not deltas:
                return
            self._seq += 1
            self._unsure = (self._seq, deltas)
        seq, sent = self._unsure
        args: list[Any] = [seq, now_ms()]
        for series, delta in sent:
            args += [
                series.dump(),
                Series(series.name, ()).dump() if series.computation else b"",
                repr(delta),
            ]
        sync_client().eval(
            _PUSH, 4, _name("counters"), _name("sums"), _name("changed"), _name("seq", self.me), *args
        )
        self._unsure = None
        now = time.monotonic()
        for series, delta in sent:
            self._told[series] = self._told.get(series, 0.0) + delta
            self._changed[series] = now

    def _tell_gauges(self, gauges: dict[bytes, float]) -> None:
        pipe = sync_client().pipeline(transaction=False)
        pipe.zadd(_name("processes"), {self.me: now_ms()})
        if gauges:
            pipe.hset(_name("gauges", self.me), mapping=gauges)
            pipe.expire(_name("gauges", self.me), GAUGES_S)
        pipe.execute()

    def _forget(self) -> None:
        """Series of single indicators that stand still leave this process's memory."""
        still = time.monotonic() - UNUSED_MS / 1000
        for series in [s for s, at in self._changed.items() if at < still and s.computation]:
            del self._changed[series], self._told[series]
            for metric in (
                metrics.cache_hits,
                metrics.cache_misses,
                metrics.computations,
                metrics.subscriptions,
            ):
                if series.name.startswith(metric._name):
                    with suppress(KeyError):
                        metric.remove(*series.computation or ())


_mirror: Mirror | None = None
_making = threading.Lock()


def mirror() -> Mirror:
    """This process's; a fork gets its own."""
    global _mirror
    with _making:
        if _mirror is None or not _mirror.me.startswith(f"{os.getpid()}-"):
            _mirror = Mirror()
        return _mirror


def push() -> None:
    """Once, and not at all while Redis is away."""
    with suppress(RedisError, OSError):
        mirror().push()


async def run(stop: asyncio.Event) -> None:
    """The side task of a worker."""
    while not stop.is_set():
        await asyncio.to_thread(push)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PUSH_S)
    await asyncio.to_thread(push)


_due = threading.Event()


def _forever() -> None:
    while True:
        push()
        _due.wait(PUSH_S)
        _due.clear()


def soon() -> None:
    """Have a web process tell now what it has counted: it may end before it would."""
    _due.set()


started = threading.Event()


def start() -> None:
    """The same for a web process: a thread that ends with it; said again it does nothing."""
    if not started.is_set():
        started.set()
        threading.Thread(target=_forever, name="metrics", daemon=True).start()


# --- reading ----------------------------------------------------------------------------------------------------------


def totals() -> dict[str, float]:
    """The sums over all labels of the counters of single indicators, by sample name."""
    return {
        Series.load(raw).name: float(value) for raw, value in sync_client().hgetall(_name("sums")).items()
    }


def counter(name: str) -> float:
    """The sum of a counter without labels."""
    return float(sync_client().hget(_name("counters"), Series(name, ()).dump()) or 0)


def drop(wanted: set[tuple[str, str, str]]) -> int:
    """Forget the series of computations that nobody wants and that stood still for a while; returns how many."""
    old = sync_client().zrangebyscore(_name("changed"), "-inf", now_ms() - UNUSED_MS)
    gone = [raw for raw in old if Series.load(raw).computation not in wanted]
    if gone:
        pipe = sync_client().pipeline(transaction=False)
        pipe.hdel(_name("counters"), *gone)
        pipe.zrem(_name("changed"), *gone)
        pipe.execute()
    return len(gone)


def gathered() -> dict[Series, float]:
    """Return every series of all living processes: counters added up, gauges, and what the sources say."""
    redis, alive = sync_client(), now_ms() - GAUGES_S * 1000
    redis.zremrangebyscore(_name("processes"), "-inf", alive)
    processes = [each.decode() for each in redis.zrange(_name("processes"), 0, -1)]
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
    """All processes' metrics in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    push()
    values: dict[str, list[tuple[Series, float]]] = {}
    for series, value in gathered().items():
        values.setdefault(series.name, []).append((series, value))
    registry = CollectorRegistry()
    registry.register(_Whole(values))
    return generate_latest(registry).decode()


class _Whole:
    """A collector of what was gathered, described as this process's registry describes it."""

    def __init__(self, values: dict[str, list[tuple[Series, float]]]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for own in metrics.REGISTRY.collect():
            whole = Metric(own.name, own.documentation, own.type)
            for suffix in ("", "_total", "_bucket", "_count", "_sum"):
                for series, value in sorted(self._values.get(own.name + suffix, ())):
                    whole.add_sample(series.name, dict(series.labels), value)
            yield whole
