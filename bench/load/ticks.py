"""Write price ticks of many symbols at a fixed rate, as an outside program does for `FEED=external`."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from stocksblitz.redis.keys import Keys

BASE = 1_000.0
STEP = 0.01
DISTINCT = 100_000
"""Number of ticks of a symbol before a price repeats; a receiver recognises a tick by its price."""
TURN_S = 0.01
"""Seconds between two writes."""


def price(tick: int) -> float:
    """Return the price of a symbol's tick with this number."""
    return round(BASE + tick % DISTINCT * STEP, 2)


class TickWriter:
    """Writer of ticks to the symbols in turn; ``written[symbol]`` maps a price to its time (wall clock, seconds)."""

    def __init__(self, redis: Any, keys: Keys, symbols: Sequence[str], per_second: float) -> None:
        self.redis, self.keys, self.symbols, self.per_second = redis, keys, symbols, per_second
        self.written: dict[str, dict[float, float]] = {symbol: {} for symbol in symbols}
        self.ticks = 0

    async def write(self, count: int) -> None:
        """Write ``count`` ticks in one round trip to Redis."""
        pipe, now, ts = self.redis.pipeline(transaction=False), time.time(), time.time_ns() // 1_000_000
        for _ in range(count):
            turn, position = divmod(self.ticks, len(self.symbols))
            symbol, last = self.symbols[position], price(turn)
            quote = {"bid": last, "ask": last + STEP, "last": last, "volume": self.ticks, "ts": ts}
            pipe.hset(self.keys.market(symbol), mapping=quote)
            pipe.publish(self.keys.price_updates, symbol)
            self.written[symbol][last] = now
            self.ticks += 1
        await pipe.execute()

    async def run(self) -> None:
        """Write at the configured rate until cancelled; ticks that are late are written with the next ones."""
        start, before = time.monotonic(), self.ticks
        while True:
            due = int((time.monotonic() - start) * self.per_second) - (self.ticks - before)
            if due > 0:
                await self.write(due)
            await asyncio.sleep(TURN_S)
