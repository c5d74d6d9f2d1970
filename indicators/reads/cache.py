"""Values read: stored ones first, else computed once for all who ask, by a worker and never in this process."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from indicators.engine.formats import decode_frame, decode_latest
from indicators.engine.spec import Spec
from indicators.reads.job import CURRENT, HISTORY, Job, latest_ttl_ms, new_token
from indicators.reads.pending_jobs import bad_results, flights, unavailable
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.store.bar_codec import FormingBar, decode_forming
from stocksblitz.market.store.history import History, read_bars
from stocksblitz.observability import metrics
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client
from stocksblitz.redis.decoding import decode_ms
from stocksblitz.redis.keys import MOCK_TTL_S, computation
from stocksblitz.redis.single_flight import HIT, MISS, WAIT
from stocksblitz.server.places import waiting
from stocksblitz.workers.runtime import now_ms

SEVERITY = {HIT: 0, WAIT: 1, MISS: 2}
GRACE_S = 2
"""How much longer than a computation may take its readers wait, so that they hear of its time-out."""
BARS_AHEAD = 64
"""How many bars a market may move on while a job waits, until its result is of another time."""

bad_markets = BadDataLog("market")
bad_frames = BadDataLog("frame")


@dataclass(slots=True)
class Answer:
    """Values by id. ``outcome`` is the worst of all: ``hit``, ``wait`` (for what others began), or ``miss``.

    ``stale``: the symbol's price is older than its feed allows.
    """

    values: dict[str, Any] = field(default_factory=dict)
    outcome: str = HIT
    stale: bool = False

    def worsen(self, outcome: str) -> None:
        self.outcome = max(self.outcome, outcome, key=SEVERITY.__getitem__)


@dataclass(slots=True)
class _Pending:
    """The values that were found at once, and futures of those that are still computed."""

    answer: Answer
    futures: dict[str, Future[Any]] = field(default_factory=dict)

    def compute(self, jobs: Mapping[str, Job]) -> None:
        """Have these computed, or wait for whoever does."""
        asked = flights().ask(list(jobs.values()))
        for (indicator, job), (future, outcome) in zip(jobs.items(), asked, strict=True):
            _count(job.symbol, job.timeframe, indicator, hit=outcome == HIT)
            self.futures[indicator] = future
            self.answer.worsen(outcome)

    def wait(self) -> Answer:
        """Wait in a thread, which meanwhile needs no connection to the database."""
        if self.futures and not connection.in_atomic_block:
            connection.close()
        for indicator, future in self.futures.items():
            try:
                with waiting():
                    self.answer.values[indicator] = future.result(_wait_s())
            except FutureTimeout:
                raise unavailable("the computation takes too long: try again") from None
        return self.answer

    async def wait_async(self) -> Answer:
        """Wait on an event loop."""
        futures = [asyncio.wrap_future(future) for future in self.futures.values()]
        values = await asyncio.wait_for(asyncio.gather(*futures), _wait_s())
        self.answer.values.update(zip(self.futures, values, strict=True))
        return self.answer


def _wait_s() -> float:
    return float(settings.COMPUTE_WAIT_MS / 1000 + GRACE_S)


def _count(symbol: str, timeframe: str, indicator: str, *, hit: bool) -> None:
    (metrics.cache_hits if hit else metrics.cache_misses).labels(symbol, timeframe, indicator).inc()


# --- the newest value -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CacheRead:
    """All that one round trip to Redis tells of some indicators of a stream.

    ``stored`` and ``live`` are entries by canonical id: the stored newest values, and the values of the newest frame as
    far as somebody subscribes to them.
    """

    stored: dict[str, Any]
    live: dict[str, Any]
    forming: FormingBar | None
    fresh_until: int

    @property
    def low(self) -> int:
        """The oldest bar that a value may belong to: for the moment after a close, the second before the forming one."""
        if self.forming is None or not self.forming.prev_ts:
            return 0
        return 2 * self.forming.prev_ts - self.forming.bar.ts

    @property
    def high(self) -> int:
        """The forming bar; 0 where none is known."""
        return self.forming.bar.ts if self.forming else 0

    def find(self, indicator: str) -> dict[str, Any] | None:
        """Return the value of the market's present: a live stream's newest frame, else the stored value."""
        for entry in (self.live.get(indicator), self.stored.get(indicator)):
            if entry is not None and (not self.high or self.low <= entry["ts"] <= self.high):
                return dict(entry)
        return None


def _read(symbol: str, timeframe: str, canonical: Sequence[str]) -> CacheRead:
    keys = current_keys()
    pipe = sync_client().pipeline(transaction=False)
    pipe.mget([keys.latest(symbol, timeframe, indicator) for indicator in canonical])
    pipe.smismember(keys.wanted, [computation(symbol, timeframe, indicator) for indicator in canonical])
    pipe.get(keys.stream(symbol, timeframe, "frame"))
    pipe.hmget(keys.market(symbol), f"bar:{timeframe}", "fresh_until")
    stored, live, frame, market = each_answer_sync(pipe)
    forming, fresh_until = _decode_market(symbol, market)
    return CacheRead(
        stored=_decode_stored(symbol, timeframe, canonical, stored),
        live=_decode_live(symbol, timeframe, canonical, live, frame),
        forming=forming,
        fresh_until=fresh_until,
    )


def _decode_market(symbol: str, fields: Any) -> tuple[FormingBar | None, int]:
    with bad_markets.skip(symbol):
        bar, fresh_until = good(fields)
        return decode_forming(bar), decode_ms("fresh_until", fresh_until) or 0
    return None, 0


def _decode_stored(symbol: str, timeframe: str, canonical: Sequence[str], stored: Any) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for indicator, raw in zip(canonical, stored, strict=True):
        if raw is not None:
            with bad_results.skip(current_keys().latest(symbol, timeframe, indicator)):
                entries[indicator] = decode_latest(raw, timeframe)
    return entries


def _decode_live(
    symbol: str, timeframe: str, canonical: Sequence[str], live: Any, frame: Any
) -> dict[str, Any]:
    """Return the values of the newest frame that somebody subscribes to: of others a frame may be long over."""
    with bad_frames.skip(f"{symbol} {timeframe}"):
        wanted = {indicator for indicator, is_live in zip(canonical, good(live), strict=True) if is_live}
        if wanted and good(frame):
            entries = decode_frame(frame, timeframe)["indicators"]
            return {indicator: entries[indicator] for indicator in wanted & entries.keys()}
    return {}


def _begin_current(symbol: str, timeframe: str, specs: Mapping[str, Spec], owner: int) -> _Pending:
    canonical = list(dict.fromkeys(spec.id for spec in specs.values()))
    read = _read(symbol, timeframe, canonical)
    pending, jobs = _Pending(Answer(stale=read.fresh_until < now_ms())), {}
    for indicator in canonical:
        entry = read.find(indicator)
        if entry is None:
            jobs[indicator] = current_job(symbol, timeframe, indicator, owner, read.low, read.high)
        else:
            _count(symbol, timeframe, indicator, hit=True)
            pending.answer.values[indicator] = entry
    if jobs:
        pending.compute(jobs)
    return pending


def current_job(symbol: str, timeframe: str, indicator: str, owner: int, low: int = 0, high: int = 0) -> Job:
    """Return the job that computes the newest value, for the bars from ``low`` to ``high`` (0: any)."""
    return Job(
        kind=CURRENT,
        symbol=symbol,
        timeframe=timeframe,
        indicator=indicator,
        token=new_token(),
        owner=owner,
        ttl=latest_ttl_ms(timeframe, mock=settings.FEED.mock),
        deadline=now_ms() + settings.COMPUTE_WAIT_MS,
        low=low,
        high=high + BARS_AHEAD * TIMEFRAMES[timeframe] if high else 0,
    )


def current_sync(symbol: str, timeframe: str, specs: Mapping[str, Spec], *, user_id: int) -> Answer:
    """Return the newest value of each indicator under the id that it was asked by: ``{ts, value, timeframe, ready}``.

    StocksBlitzError ``unavailable`` where no worker answers, or the worker's own error.
    """
    answer = _begin_current(symbol, timeframe, specs, user_id).wait()
    values = {asked: answer.values[spec.id] for asked, spec in specs.items()}
    return Answer(values, answer.outcome, answer.stale)


# --- history ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """The last ``limit`` closed bars (that opened before ``before``, ms), and these indicators' values for them."""

    symbol: str
    timeframe: str
    indicators: Sequence[str]
    limit: int
    before: int | None
    owner: int

    def job(self, indicator: str, history: History) -> Job:
        return Job(
            kind=HISTORY,
            symbol=self.symbol,
            timeframe=self.timeframe,
            indicator=indicator,
            token=new_token(),
            owner=self.owner,
            ttl=min(2 * TIMEFRAMES[self.timeframe], 1000 * MOCK_TTL_S),
            deadline=now_ms() + settings.COMPUTE_WAIT_MS,
            limit=len(history.bars),
            before=history.bars[-1][0] + 1,
            generation=history.generation,
        )


def _begin_history(request: HistoryRequest) -> tuple[History, _Pending]:
    history = read_bars(request.symbol, request.timeframe, request.limit, request.before)
    pending = _Pending(Answer())
    if not history.bars or not request.indicators:
        pending.answer.values = {indicator: [] for indicator in request.indicators}
        return history, pending
    jobs = {indicator: request.job(indicator, history) for indicator in request.indicators}
    stored = sync_client().mget([job.cached_at(current_keys()) for job in jobs.values()])
    for (indicator, job), raw in zip(list(jobs.items()), stored, strict=True):
        if raw is not None:
            with bad_results.skip(job.cached_at(current_keys())):
                pending.answer.values[indicator] = job.cached(raw)
                _count(job.symbol, job.timeframe, indicator, hit=True)
                del jobs[indicator]
    if jobs:
        pending.compute(jobs)
    return history, pending


def _aligned(history: History, answer: Answer) -> dict[str, Any]:
    """Return one value per bar; bars that no value reaches back to have null."""
    count = len(history.bars)
    values = {
        indicator: [None] * (count - len(found)) + found[-count:]
        for indicator, found in answer.values.items()
    }
    return {
        "bars": history.bars,
        "indicators": values,
        "complete": history.complete,
        "cache": answer.outcome,
    }


def history_sync(
    symbol: str,
    timeframe: str,
    indicators: Sequence[str],
    *,
    user_id: int,
    limit: int,
    before: int | None = None,
) -> dict[str, Any]:
    """Return ``{bars, indicators: {canonical id: [value | None per bar]}, complete, cache}``, oldest first.

    ``complete``: as many bars as asked for are there. Errors as in `current_sync`.
    """
    history, pending = _begin_history(HistoryRequest(symbol, timeframe, indicators, limit, before, user_id))
    return _aligned(history, pending.wait())


async def history(
    symbol: str, timeframe: str, indicators: Sequence[str], *, user_id: int, limit: int
) -> dict[str, Any]:
    """Return the same for an event loop."""
    begin = database_sync_to_async(_begin_history, thread_sensitive=False)
    try:
        read, pending = await begin(HistoryRequest(symbol, timeframe, indicators, limit, None, user_id))
    except RedisError:
        raise unavailable("Redis cannot be reached: try again") from None
    return _aligned(read, await pending.wait_async())
