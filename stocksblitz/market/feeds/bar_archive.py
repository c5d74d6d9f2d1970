"""Saves closed bars of the real realm in the database, after they were published and in batches.

The hot store is trimmed only of saved bars, so a database that is away stops no stream and loses no bar.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.db.models import Max
from redis.exceptions import ResponseError

from stocksblitz.market import models
from stocksblitz.market.core.bars import TIMEFRAMES, Bar, Closed
from stocksblitz.market.feeds.base import ClosedBars
from stocksblitz.market.store.bar_codec import decode_bars
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)

Row = tuple[str, str, Bar]
"""Symbol, timeframe, bar."""
_BATCH = 500
_BOUND = 500_000
"""Bars that wait for the database in memory; the hot store holds more of them than that."""
_FIELDS = ["session", "open", "high", "low", "close", "volume"]


_bad_bars = BadDataLog("bar")


class Archive:
    """Saves the closed bars that the writer hands over, then trims the hot store to its bound."""

    def __init__(self, redis: Any, keys: Keys) -> None:
        self.redis, self.keys = redis, keys
        self._waiting: deque[Row] = deque(maxlen=_BOUND)

    def take(self, closed: Mapping[str, Sequence[Closed]]) -> None:
        """Queue bars that are in the hot store already."""
        for symbol, bars in closed.items():
            self._waiting.extend((symbol, timeframe, bar) for timeframe, bar in bars)
        if len(self._waiting) == _BOUND:
            log.error("the database is away for too long", extra={"action": "bars_dropped", "bars": _BOUND})

    async def step(self) -> bool:
        """Save one batch; return whether there was one. After a DatabaseError nothing is lost: try again."""
        batch = [self._waiting[i] for i in range(min(_BATCH, len(self._waiting)))]
        if not batch:
            return False
        await _save(batch)
        for _ in batch:
            self._waiting.popleft()
        await self._trim({(symbol, timeframe): bar.ts for symbol, timeframe, bar in batch})
        return True

    async def recover(self, symbols: Sequence[str]) -> None:
        """Queue bars that an earlier feed put into the hot store but did not save."""
        saved = await _newest()
        streams = [(symbol, timeframe) for symbol in symbols for timeframe in TIMEFRAMES]
        pipe = self.redis.pipeline(transaction=False)
        for symbol, timeframe in streams:
            after = saved.get((symbol, timeframe), -1)
            pipe.zrangebyscore(self.keys.bars(symbol, timeframe), f"({after}", "+inf")
        for (symbol, timeframe), members in zip(streams, await each_answer(pipe), strict=True):
            bars, bad = decode_bars(members)
            _bad_bars.record_all(f"{symbol} {timeframe}", bad)
            self._waiting.extend((symbol, timeframe, bar) for bar in bars)

    async def history(self, symbol: str) -> ClosedBars:
        """Return the newest closed bars of a symbol, both saved and not saved yet."""
        history = await _load(symbol)
        for name, timeframe, bar in self._waiting:
            if name == symbol:
                history[timeframe][bar.ts] = bar
        return {timeframe: [bars[ts] for ts in sorted(bars)] for timeframe, bars in history.items()}

    async def _trim(self, saved: Mapping[tuple[str, str], int]) -> None:
        edge = -settings.HOT_BARS - 1
        streams = list(saved.items())
        pipe = self.redis.pipeline(transaction=False)
        for stream, _ in streams:
            pipe.zrange(self.keys.bars(*stream), edge, edge, withscores=True)
        excess = await each_answer(pipe)
        pipe = self.redis.pipeline(transaction=False)
        for (stream, ts), found in zip(streams, excess, strict=True):
            if found and not isinstance(found, ResponseError):
                pipe.zremrangebyscore(self.keys.bars(*stream), "-inf", min(ts, found[0][1]))
        await pipe.execute()


@sync_to_async
def _save(rows: Sequence[Row]) -> None:
    close_old_connections()  # one that broke would fail for ever
    newest = {(symbol, timeframe, bar.ts): bar for symbol, timeframe, bar in rows}
    models.Bar.objects.bulk_create(
        [models.Bar(symbol=s, timeframe=tf, **bar._asdict()) for (s, tf, _), bar in newest.items()],
        update_conflicts=True,
        unique_fields=["symbol", "timeframe", "ts"],
        update_fields=_FIELDS,
    )


@sync_to_async
def _newest() -> dict[tuple[str, str], int]:
    rows = models.Bar.objects.values_list("symbol", "timeframe").annotate(Max("ts"))
    return {(symbol, timeframe): ts for symbol, timeframe, ts in rows}


@sync_to_async
def _load(symbol: str) -> dict[str, dict[int, Bar]]:
    history: dict[str, dict[int, Bar]] = {}
    for timeframe in TIMEFRAMES:
        found = models.Bar.objects.filter(symbol=symbol, timeframe=timeframe).order_by("-ts")
        rows = found.values_list("ts", "open", "high", "low", "close", "volume", "session")[
            : settings.HOT_BARS
        ]
        history[timeframe] = {row[0]: Bar(*row) for row in rows}
    return history
