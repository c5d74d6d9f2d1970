"""Closed bars for readers in threads: from the hot store, and in the real realm older ones from the database."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from stocksblitz.market.models import Bar
from stocksblitz.market.store.bar_codec import decode_bars
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client
from stocksblitz.redis.decoding import decode_text

type Row = list[Any]
"""``[ts, open, high, low, close, volume]``; ts is the opening time in ms."""

MOST_BARS = 5_000
_bad_bars, _bad_markets = BadDataLog("bar"), BadDataLog("market")


@dataclass(frozen=True, slots=True)
class History:
    """Closed bars, oldest first. ``complete``: as many as were asked for; ``generation`` changes when history does."""

    bars: list[Row]
    complete: bool
    generation: str = ""


def read_bars(symbol: str, timeframe: str, limit: int, before: int | None = None) -> History:
    """Return the last ``limit`` closed bars that opened before ``before`` (ms), or of all; junk is left out."""
    names, upper = current_keys(), "+inf" if before is None else f"({before}"
    pipe = sync_client().pipeline(transaction=False)
    pipe.zrevrangebyscore(names.bars(symbol, timeframe), upper, "-inf", 0, limit)
    pipe.hget(names.market(symbol), "gen")
    members, generation = each_answer_sync(pipe)
    found, bad = decode_bars(members)
    _bad_bars.record_all(f"{symbol} {timeframe}", bad)
    bars: list[Row] = [list(bar[:6]) for bar in reversed(found)]
    if len(bars) + len(bad) < limit and not settings.FEED.mock:
        older = stored_bars(symbol, timeframe, limit - len(bars), bars[0][0] if bars else before)
        bars = [row[:6] for row in older] + bars
    return History(bars, len(bars) == limit, _generation(symbol, generation))


def stored_bars(symbol: str, timeframe: str, limit: int, before: int | None) -> list[Row]:
    """Return such bars from the database alone, each with the opening time of its session (ms) at its end."""
    rows = Bar.objects.filter(symbol=symbol, timeframe=timeframe)
    if before is not None:
        rows = rows.filter(ts__lt=before)
    columns = ("ts", "open", "high", "low", "close", "volume", "session")
    return [list(row) for row in reversed(rows.order_by("-ts").values_list(*columns)[:limit])]


def _generation(symbol: str, answer: Any) -> str:
    with _bad_markets.skip(symbol):
        return decode_text("gen", good(answer)) or ""
    return ""
