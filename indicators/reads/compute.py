"""One-shot computations: the newest value, or a stretch of history, of something that nobody may be subscribed to."""

import asyncio
from collections.abc import Sequence
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings

from indicators.engine.spec import Spec, parse
from indicators.engine.stream import Stream, series
from indicators.reads.job import HISTORY, Job
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.store.bar_codec import decode_bars, decode_forming
from stocksblitz.market.store.history import stored_bars
from stocksblitz.observability import metrics
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.keys import Keys

bad_bars = BadDataLog("bar")


class OneShot:
    """Reads bars (from the hot store; older ones of the real realm from the database) and computes in a thread, so that
    streams go on meanwhile.
    """

    def __init__(self, redis: Any, keys: Keys) -> None:
        self._redis, self._keys = redis, keys

    async def compute(self, job: Job) -> Any:
        """Return what the job asks for."""
        if job.kind == HISTORY:
            return await self._history(job)
        return await self._current(job)

    async def _current(self, job: Job) -> dict[str, Any]:
        """Return ``{ts, value, timeframe, ready}`` at the forming bar, else at the newest closed one.

        StocksBlitzError ``unavailable`` while the symbol has no bars.
        """
        spec = parse(job.indicator)
        bars = await self._bars(job.symbol, job.timeframe, spec.history)
        forming = await self._forming(job.symbol, job.timeframe, bars)
        if not bars and forming is None:
            raise StocksBlitzError(
                "unavailable", f"there are no {job.timeframe} bars of {job.symbol} yet: try again later"
            )
        value, ready = await asyncio.to_thread(_value, spec, bars, forming)
        self._count(job)
        ts = forming.ts if forming else bars[-1].ts
        return {"ts": ts, "value": value, "timeframe": job.timeframe, "ready": ready}

    async def _history(self, job: Job) -> list[Any]:
        """Return a value for each of the last closed bars, null until ready."""
        spec = parse(job.indicator)
        bars = await self._older_too(job.symbol, job.timeframe, job.limit + spec.history, job.before)
        values: list[Any] = await asyncio.to_thread(series, spec, bars, job.limit)
        self._count(job)
        return values

    def _count(self, job: Job) -> None:
        metrics.computations.labels(job.symbol, job.timeframe, job.indicator).inc()

    async def _older_too(self, symbol: str, timeframe: str, count: int, before: int) -> list[Bar]:
        """Return so many bars before a time, as far as the hot store and the database have them."""
        bars = await self._bars(symbol, timeframe, count, before)
        if len(bars) == count or settings.FEED.mock:
            return bars
        read = database_sync_to_async(stored_bars, thread_sensitive=False)
        older = await read(symbol, timeframe, count - len(bars), bars[0].ts if bars else before)
        return [Bar(*row) for row in older] + bars

    async def _bars(self, symbol: str, timeframe: str, count: int, before: int | None = None) -> list[Bar]:
        """Return closed bars of the hot store, oldest first; members that are no bars are left out."""
        upper = "+inf" if before is None else f"({before}"
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrevrangebyscore(
            self._keys.bars(symbol, timeframe), upper, "-inf", 0, min(count, settings.HOT_BARS)
        )
        (members,) = await each_answer(pipe)
        bars, bad = decode_bars(members)
        bad_bars.record_all(f"{symbol} {timeframe}", bad)
        return bars[::-1]

    async def _forming(self, symbol: str, timeframe: str, bars: Sequence[Bar]) -> Bar | None:
        """Return the forming bar, if it is later than every closed one that was read."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(self._keys.market(symbol), f"bar:{timeframe}")
        (raw,) = await each_answer(pipe)
        with bad_bars.skip(f"{symbol} {timeframe} forming"):
            forming = decode_forming(good(raw))
            if forming is not None and (not bars or forming.bar.ts > bars[-1].ts):
                return forming.bar
        return None


def _value(spec: Spec, bars: Sequence[Bar], forming: Bar | None) -> tuple[Any, bool]:
    stream = Stream(bars)
    stream.set_indicators([spec])
    values = stream.peek(forming) if forming is not None else stream.last_values()
    return values.get(spec.id, (None, False))
