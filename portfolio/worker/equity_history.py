"""Equity over time, kept for accounts that somebody has looked at within a day: a point every ten seconds, bounded."""

import logging
from typing import Any

from portfolio.valuation.book import STALE, Book
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

EVERY_S = 10.0
POINTS = 2_880
"""Eight hours."""
WANTED_S = 86_400


def _wanted(names: Keys) -> str:
    return names.name("portfolio", "curves")


def _curve(names: Keys, account: str) -> str:
    return names.name("portfolio", "curve", account)


def want(account: str) -> None:
    """Have the account's equity kept for another day."""
    sync_client().zadd(_wanted(current_keys()), {account: now_ms() + WANTED_S * 1000})


def read(account: str) -> list[list[float]]:
    """``[ts, equity]``, oldest first; it is kept from the first time that it is asked for."""
    want(account)
    rows = (
        raw.decode().partition(",") for raw in sync_client().lrange(_curve(current_keys(), account), 0, -1)
    )
    return [[int(ts), float(equity)] for ts, _, equity in rows]


class Curves:
    """The points that one engine adds: of its own accounts that are wanted and whose prices are fresh."""

    def __init__(self, redis: Any, names: Keys, book: Book) -> None:
        self._redis = redis
        self._names = names
        self._book = book

    async def step(self) -> None:
        now = now_ms()
        wanted = await self._redis.zrangebyscore(_wanted(self._names), now, "+inf")
        pipe = self._redis.pipeline(transaction=False)
        pipe.zremrangebyscore(_wanted(self._names), "-inf", now)
        slots, state = self._book.slots, self._book.slots.state
        for account in (raw.decode() for raw in wanted):
            slot = self._book.index.get(account)
            if slot is not None and state[slot] != STALE:
                name = _curve(self._names, account)
                pipe.rpush(name, f"{now},{slots.balance[slot] + slots.unrealized[slot]:.8g}")
                pipe.ltrim(name, -POINTS, -1)
                pipe.expire(name, WANTED_S)
        await pipe.execute()
