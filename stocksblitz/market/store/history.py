"""Closed bars and the forming one, for readers in threads (hot store; in the real realm older ones from the database)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from stocksblitz.market.models import Bar
from stocksblitz.redis.client import current_keys, sync_client

type Row = list[Any]
"""``[ts, open, high, low, close, volume]``; ts is the opening time in ms."""

MOST_BARS = 5_000


@dataclass(frozen=True, slots=True)
class History:
    """Closed bars, oldest first. ``complete``: as many as were asked for; ``generation`` changes when the past does."""

    bars: list[Row]
    complete: bool
    generation: str = ""


def read_bars(symbol: str, timeframe: str, limit: int, before: int | None = None) -> History:
    """The last ``limit`` closed bars, of those that opened before ``before`` (ms) where given."""
    names, upper = current_keys(), "+inf" if before is None else f"({before}"
    pipe = sync_client().pipeline(transaction=False)
    pipe.zrevrangebyscore(names.bars(symbol, timeframe), upper, "-inf", 0, limit)
    pipe.hget(names.market(symbol), "gen")
    members, generation = pipe.execute()
    bars = [orjson.loads(member)[:6] for member in reversed(members)]
    if len(bars) < limit and not settings.FEED.mock:
        older = stored_bars(symbol, timeframe, limit - len(bars), bars[0][0] if bars else before)
        bars = [row[:6] for row in older] + bars
    return History(bars, len(bars) == limit, (generation or b"").decode())


def stored_bars(symbol: str, timeframe: str, limit: int, before: int | None) -> list[Row]:
    """The same from the database alone, each with the opening time of its session (ms) at its end."""
    rows = Bar.objects.filter(symbol=symbol, timeframe=timeframe)
    if before is not None:
        rows = rows.filter(ts__lt=before)
    columns = ("ts", "open", "high", "low", "close", "volume", "session")
    return [list(row) for row in reversed(rows.order_by("-ts").values_list(*columns)[:limit])]


def forming(fields: Mapping[bytes, bytes] | None, timeframe: str) -> Row | None:
    """The bar that forms, from a symbol's market hash; ``[ts, o, h, l, c, v, session, prev_ts]``."""
    raw = (fields or {}).get(f"bar:{timeframe}".encode())
    return orjson.loads(raw) if raw else None
