"""Equity over time, kept for accounts that somebody asked for within a day: a point every ten seconds, bounded."""

import math
from typing import Any

from portfolio.valuation.book import STALE, Book
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer, sync_client
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

EVERY_S = 10.0
POINTS = 2_880
"""Eight hours."""
KEPT_S = 86_400
_bad_points = BadDataLog("equity_history")


def _requested(names: Keys) -> str:
    """Sorted set: account to the time (ms) until which its equity is kept."""
    return names.name("portfolio", "equity_requested")


def _points(names: Keys, account: str) -> str:
    """List of ``ts,equity``, the oldest first."""
    return names.name("portfolio", "equity", account)


def request(account: str) -> None:
    """Have the account's equity kept for another day."""
    sync_client().zadd(_requested(current_keys()), {account: now_ms() + KEPT_S * 1000})


def read(account: str) -> list[list[float]]:
    """Return ``[ts, equity]``, oldest first; points are kept from the first time that they are asked for."""
    request(account)
    points = []
    for raw in sync_client().lrange(_points(current_keys(), account), 0, -1):
        with _bad_points.skip(account):
            points.append(decode_point(raw))
    return points


def decode_point(raw: bytes) -> list[float]:
    """Return ``[ts, equity]`` of one point; BadData for anything but two finite numbers."""
    ts, _, equity = raw.partition(b",")
    try:
        point = [int(ts), float(equity)]
    except ValueError:
        point = [0, math.nan]
    if not math.isfinite(point[1]) or not 0 <= point[0] < 2**53:
        raise BadData("point", raw, "ts,equity")
    return point


class EquityHistory:
    """The points that one engine adds: of its own accounts that were asked for and whose prices are fresh."""

    def __init__(self, redis: Any, names: Keys, book: Book) -> None:
        self._redis = redis
        self._names = names
        self._book = book

    async def add_points(self) -> None:
        """Add the current equity of each account, and forget those that nobody asks for any more."""
        now = now_ms()
        accounts = await self._redis.zrangebyscore(_requested(self._names), now, "+inf")
        pipe = self._redis.pipeline(transaction=False)
        pipe.zremrangebyscore(_requested(self._names), "-inf", now)
        slots = self._book.slots
        for account in (raw.decode(errors="replace") for raw in accounts):
            slot = self._book.index.get(account)
            if slot is not None and slots.state[slot] != STALE:
                name = _points(self._names, account)
                pipe.rpush(name, f"{now},{slots.balance[slot] + slots.unrealized[slot]:.8g}")
                pipe.ltrim(name, -POINTS, -1)
                pipe.expire(name, KEPT_S)
        await each_answer(pipe)
