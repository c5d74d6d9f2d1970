"""One-shot computations: the newest value, or a stretch of history, of something that nobody may be subscribed to."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings

from indicators.engine.market_data import bar_of, bar_of_row
from indicators.engine.spec import Spec, parse
from indicators.engine.stream import Stream, series
from indicators.reads.job_queue import Job
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.store.history import stored_bars
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import Keys


class OneShot:
    """Reads bars (the hot store's, older ones of the real realm from the database) and computes in a thread, so that
    streams go on meanwhile.
    """

    def __init__(self, redis: Any, keys: Keys) -> None:
        self._redis, self._keys = redis, keys

    async def compute(self, job: Job) -> Any:
        """What the job asks for."""
        if job.kind == "history":
            return await self.history(job.symbol, job.timeframe, job.indicator, job.limit, job.before)
        return await self.current(job.symbol, job.timeframe, job.indicator)

    async def current(self, symbol: str, timeframe: str, indicator: str) -> dict[str, Any]:
        """``{ts, value, timeframe, ready}`` at the forming bar, else at the newest closed one.

        StocksBlitzError ``unavailable`` while the symbol has no bars.
        """
        spec = parse(indicator)
        bars = await self._bars(symbol, timeframe, spec.history)
        raw = await self._redis.hget(self._keys.market(symbol), f"bar:{timeframe}")
        forming = self._forming(orjson.loads(raw), bars) if raw else None
        if not bars and forming is None:
            raise StocksBlitzError(
                "unavailable", f"there are no {timeframe} bars of {symbol} yet: try again later"
            )
        value, ready = await asyncio.to_thread(_current, spec, bars, forming)
        self._count(symbol, timeframe, indicator)
        ts = forming.ts if forming else bars[-1].ts
        return {"ts": ts, "value": value, "timeframe": timeframe, "ready": ready}

    async def history(
        self, symbol: str, timeframe: str, indicator: str, limit: int, before: int | None
    ) -> list[Any]:
        """A value for each of the last ``limit`` closed bars (of those before ``before``), null until ready."""
        spec = parse(indicator)
        bars = await self._past(symbol, timeframe, limit + spec.history, before)
        values: list[Any] = await asyncio.to_thread(series, spec, bars, limit)
        self._count(symbol, timeframe, indicator)
        return values

    def _count(self, symbol: str, timeframe: str, indicator: str) -> None:
        metrics.computations.labels(symbol, timeframe, indicator).inc()

    async def _past(self, symbol: str, timeframe: str, count: int, before: int | None) -> list[Bar]:
        bars = await self._bars(symbol, timeframe, count, before)
        if len(bars) == count or settings.FEED.mock:
            return bars
        ask = database_sync_to_async(stored_bars, thread_sensitive=False)
        older = await ask(symbol, timeframe, count - len(bars), bars[0].ts if bars else before)
        return [bar_of_row(row) for row in older] + bars

    async def _bars(self, symbol: str, timeframe: str, count: int, before: int | None = None) -> list[Bar]:
        upper = "+inf" if before is None else f"({before}"
        most = min(count, settings.HOT_BARS)
        rows = await self._redis.zrevrangebyscore(self._keys.bars(symbol, timeframe), upper, "-inf", 0, most)
        return [bar_of(raw) for raw in reversed(rows)]

    def _forming(self, row: list[Any], bars: Sequence[Bar]) -> Bar | None:
        """The forming bar, if it is later than every closed one that was read."""
        bar = bar_of_row(row)
        return bar if not bars or bar.ts > bars[-1].ts else None


def _current(spec: Spec, bars: Sequence[Bar], forming: Bar | None) -> tuple[Any, bool]:
    stream = Stream(bars)
    stream.want([spec])
    values = stream.peek(forming) if forming is not None else stream.last_values()
    return values.get(spec.id, (None, False))
