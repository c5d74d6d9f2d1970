"""A writer of prices, as whoever feeds `FEED=external` is one: many symbols, so many ticks a second."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from stocksblitz.redis.keys import Keys

BASE = 1_000.0
STEP = 0.01
DISTINCT = 100_000
"""Prices of one symbol before one comes again: by its price a tick is known on the other side."""
TURN_S = 0.01


def price(tick: int) -> float:
    return round(BASE + tick % DISTINCT * STEP, 2)


class TickWriter:
    """Writes the symbols in turn; ``written[symbol]`` maps a price to when it was written (wall clock, s)."""

    def __init__(self, redis: Any, keys: Keys, symbols: Sequence[str], per_second: float) -> None:
        self.redis, self.keys, self.symbols, self.per_second = redis, keys, symbols, per_second
        self.written: dict[str, dict[float, float]] = {symbol: {} for symbol in symbols}
        self.ticks = 0

    async def write(self, count: int) -> None:
        """So many ticks in one round trip."""
        pipe, now, ts = self.redis.pipeline(transaction=False), time.time(), time.time_ns() // 1_000_000
        for _ in range(count):
            symbol, last = (
                self.symbols[self.ticks % len(self.symbols)],
                price(self.ticks // len(self.symbols)),
            )
            quote = {"bid": last, "ask": last + STEP, "last": last, "volume": self.ticks, "ts": ts}
            pipe.hset(self.keys.market(symbol), mapping=quote)
            pipe.publish(self.keys.price_updates, symbol)
            self.written[symbol][last] = now
            self.ticks += 1
        await pipe.execute()

    async def run(self) -> None:
        """At the rate asked for, until cancelled; what a late turn missed comes with the next."""
        start, before = time.monotonic(), self.ticks
        while True:
            due = int((time.monotonic() - start) * self.per_second) - (self.ticks - before)
            if due > 0:
                await self.write(due)
            await asyncio.sleep(TURN_S)
