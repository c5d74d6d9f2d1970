"""Values read: from the cache first, else computed once for all who ask, by a worker and never here."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from indicators.engine.spec import Spec
from indicators.reads.job_queue import Job, latest_ttl_ms
from indicators.reads.single_flight import HIT, MISS, WAIT, desk, token
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.store.history import read_bars
from stocksblitz.observability import metrics
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import MOCK_TTL_S, computation
from stocksblitz.server.places import waiting
from stocksblitz.workers.runtime import now_ms

_WORST = {HIT: 0, WAIT: 1, MISS: 2}


@dataclass(slots=True)
class Answer:
    """Values by id. ``outcome`` is the worst of all: ``hit``, ``wait`` (for what others began), or ``miss``.

    ``stale``: the symbol's price is older than its feed allows.
    """

    values: dict[str, Any] = field(default_factory=dict)
    outcome: str = HIT
    stale: bool = False

    def worsen(self, outcome: str) -> None:
        self.outcome = max(self.outcome, outcome, key=_WORST.__getitem__)


@dataclass(slots=True)
class _Pending:
    """What was found at once, and what is still waited for."""

    answer: Answer
    waiting: dict[str, Future[Any]] = field(default_factory=dict)

    def settle(self) -> Answer:
        """Wait in a thread, which meanwhile needs no connection to the database."""
        if self.waiting and not connection.in_atomic_block:
            connection.close()
        for each, future in self.waiting.items():
            try:
                with waiting():
                    self.answer.values[each] = future.result(settings.COMPUTE_WAIT_MS / 1000 + 2)
            except FutureTimeout:
                raise StocksBlitzError("unavailable", "the computation takes too long: try again") from None
        return self.answer

    async def arrive(self) -> Answer:
        """Wait on an event loop."""
        futures = [asyncio.wrap_future(future) for future in self.waiting.values()]
        values = await asyncio.wait_for(asyncio.gather(*futures), settings.COMPUTE_WAIT_MS / 1000 + 2)
        self.answer.values.update(zip(self.waiting, values, strict=True))
        return self.answer


def _count(symbol: str, timeframe: str, indicator: str, *, hit: bool) -> None:
    (metrics.cache_hits if hit else metrics.cache_misses).labels(symbol, timeframe, indicator).inc()


def _await(pending: _Pending, jobs: Mapping[str, Job]) -> _Pending:
    """Have all of these computed, or wait for whoever does."""
    for (each, job), (future, outcome) in zip(jobs.items(), desk().ask(list(jobs.values())), strict=True):
        _count(job.symbol, job.timeframe, job.indicator, hit=outcome == HIT)
        pending.waiting[each] = future
        pending.answer.worsen(outcome)
    return pending


# --- the newest value -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CacheRead:
    """All that one round trip to Redis tells of some indicators of a stream."""

    latest: list[bytes | None]
    live: list[bool]
    frame: dict[str, Any]
    bar: list[Any] | None
    fresh_until: float

    @property
    def bounds(self) -> tuple[str, str]:
        """The bars a value may belong to: the forming one and, for the moment after a close, the two before it."""
        if self.bar is None:
            return "", ""
        return str(int(2 * self.bar[7] - self.bar[0]) if self.bar[7] else 0), str(self.bar[0])


def _read(symbol: str, timeframe: str, canonical: Sequence[str]) -> CacheRead:
    names = current_keys()
    pipe = sync_client().pipeline(transaction=False)
    pipe.mget([names.latest(symbol, timeframe, each) for each in canonical])
    pipe.smismember(names.wanted, [computation(symbol, timeframe, each) for each in canonical])
    pipe.get(names.stream(symbol, timeframe, "frame"))
    pipe.hmget(names.market(symbol), f"bar:{timeframe}", "fresh_until")
    latest, live, frame, (bar, fresh) = pipe.execute()
    return CacheRead(
        latest=latest,
        live=[bool(each) for each in live],
        frame=orjson.loads(frame)["indicators"] if frame and any(live) else {},
        bar=orjson.loads(bar) if bar else None,
        fresh_until=float(fresh or 0),
    )


def _found(shelf: CacheRead, index: int, canonical: str) -> dict[str, Any] | None:
    """The value in the cache, if it is of the market's present: a live stream's newest frame, else ``latest``."""
    low, high = shelf.bounds
    live = shelf.frame.get(canonical) if shelf.live[index] else None
    raw = shelf.latest[index]
    for entry in (live, orjson.loads(raw) if raw else None):
        if entry is not None and (not low or int(low) <= entry["ts"] <= int(high)):
            return dict(entry)
    return None


def _begin_current(symbol: str, timeframe: str, specs: Mapping[str, Spec]) -> _Pending:
    canonical = list(dict.fromkeys(spec.id for spec in specs.values()))
    shelf = _read(symbol, timeframe, canonical)
    pending, jobs = _Pending(Answer(stale=shelf.fresh_until < now_ms())), {}
    for index, each in enumerate(canonical):
        entry = _found(shelf, index, each)
        if entry is None:
            jobs[each] = _current_job(symbol, timeframe, each, *shelf.bounds)
        else:
            _count(symbol, timeframe, each, hit=True)
            pending.answer.values[each] = entry
    return _await(pending, jobs) if jobs else pending


def _current_job(symbol: str, timeframe: str, indicator: str, low: str, high: str) -> Job:
    names = current_keys()
    return Job(
        key=names.latest(symbol, timeframe, indicator),
        lock=names.lock(symbol, timeframe, indicator),
        kind="current",
        symbol=symbol,
        timeframe=timeframe,
        indicator=indicator,
        token=token(),
        ttl=latest_ttl_ms(timeframe, mock=settings.FEED.mock),
        deadline=now_ms() + settings.COMPUTE_WAIT_MS,
        low=low,
        # The market moves on while the job waits: any bar from here on will do.
        high=str(int(high) + 64 * TIMEFRAMES[timeframe]) if high else "",
    )


def _under_asked_ids(answer: Answer, specs: Mapping[str, Spec]) -> Answer:
    values = {asked: answer.values[spec.id] for asked, spec in specs.items()}
    return Answer(values, answer.outcome, answer.stale)


def current_sync(symbol: str, timeframe: str, specs: Mapping[str, Spec]) -> Answer:
    """The newest value of each indicator under the id that it was asked by: ``{ts, value, timeframe, ready}``.

    StocksBlitzError ``unavailable`` where no worker answers, or the worker's own error.
    """
    answer = _begin_current(symbol, timeframe, specs).settle()
    return _under_asked_ids(answer, specs)


async def current(symbol: str, timeframe: str, specs: Mapping[str, Spec]) -> Answer:
    """The same for an event loop."""
    pending = await asyncio.to_thread(_begin_current, symbol, timeframe, specs)
    answer = await pending.arrive()
    return _under_asked_ids(answer, specs)


# --- history ----------------------------------------------------------------------------------------------------------


def _begin_history(
    symbol: str, timeframe: str, indicators: Sequence[str], limit: int, before: int | None
) -> tuple[dict[str, Any], _Pending]:
    past = read_bars(symbol, timeframe, limit, before)
    result = {"bars": past.bars, "complete": past.complete}
    pending = _Pending(Answer())
    if not past.bars or not indicators:
        pending.answer.values = {each: [] for each in indicators}
        return result, pending
    jobs = {each: _history_job(symbol, timeframe, each, past.bars, past.generation) for each in indicators}
    cached = sync_client().mget([job.key for job in jobs.values()])
    for (each, job), raw in zip(list(jobs.items()), cached, strict=True):
        if raw is not None:
            _count(job.symbol, job.timeframe, each, hit=True)
            pending.answer.values[each] = orjson.loads(raw)
            del jobs[each]
    return result, _await(pending, jobs) if jobs else pending


def _history_job(symbol: str, timeframe: str, indicator: str, bars: list[Any], generation: str) -> Job:
    names, last, count = current_keys(), bars[-1][0], len(bars)
    part = f"{indicator}:{last}:{count}:{generation}"
    return Job(
        key=names.name("history", symbol, timeframe, part),
        lock=names.lock(symbol, timeframe, part),
        kind="history",
        symbol=symbol,
        timeframe=timeframe,
        indicator=indicator,
        token=token(),
        ttl=min(2 * TIMEFRAMES[timeframe], 1000 * MOCK_TTL_S),
        deadline=now_ms() + settings.COMPUTE_WAIT_MS,
        limit=count,
        before=last + 1,
    )


def _aligned(result: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """One value per bar; what no bar reaches back to is null."""
    count = len(result["bars"])
    values = {each: [None] * (count - len(found)) + found[-count:] for each, found in answer.values.items()}
    return {
        "bars": result["bars"],
        "indicators": values,
        "complete": result["complete"],
        "cache": answer.outcome,
    }


def history_sync(
    symbol: str, timeframe: str, indicators: Sequence[str], *, limit: int, before: int | None = None
) -> dict[str, Any]:
    """``{bars, indicators: {canonical id: [value | None per bar]}, complete, cache}``, oldest first.

    ``complete``: as many bars as asked for are there. Errors as in `current_sync`.
    """
    result, pending = _begin_history(symbol, timeframe, indicators, limit, before)
    return _aligned(result, pending.settle())


async def history(
    symbol: str, timeframe: str, indicators: Sequence[str], *, limit: int, before: int | None = None
) -> dict[str, Any]:
    """The same for an event loop."""
    begin = database_sync_to_async(_begin_history, thread_sensitive=False)
    try:
        result, pending = await begin(symbol, timeframe, indicators, limit, before)
    except RedisError:
        raise StocksBlitzError("unavailable", "Redis is out of reach: try again") from None
    return _aligned(result, await pending.arrive())
