"""Write bars for a real compute worker as the feed does: closed bars, forming bars and the notice of each flush."""

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

from stocksblitz.market.core.bars import MINUTE_MS, Bar
from stocksblitz.redis.keys import Keys

DAY_MS = 1_440 * MINUTE_MS
MAX_VOLUME = 5_000.0
"""Largest volume of a bar, in shares."""


def walk(seed: int, count: int, start_ms: int) -> list[Bar]:
    """Return a random walk of one-minute bars, the same for the same seed; each exchange session lasts a day."""
    rng, price, bars = random.Random(seed), 1_000.0 + seed, []
    for ts in range(start_ms, start_ms + count * MINUTE_MS, MINUTE_MS):
        opened, price = price, price * (1 + rng.gauss(0, 0.001))
        high, low = max(opened, price) * 1.0003, min(opened, price) * 0.9997
        bars.append(Bar(ts, opened, high, low, price, rng.random() * MAX_VOLUME, ts - ts % DAY_MS))
    return bars


def forming(bars: list[Bar]) -> Iterator[Bar]:
    """Yield the forming bar after these bars without end; its close changes with every tick."""
    last = bars[-1]
    for tick in itertools.count():
        close = last.close * (1 + 0.0001 * (tick % 17 - 8))
        high, low = max(last.close, close) * 1.0005, min(last.close, close) * 0.9995
        yield Bar(last.ts + MINUTE_MS, last.close, high, low, close, 100.0 + tick % 1000, last.session)


class Playback:
    """Writer of the bars of one timeframe: `begin` writes the history; `close`, `form` and `announce` follow it."""

    def __init__(self, redis: Any, keys: Keys, timeframe: str) -> None:
        self.redis, self.keys, self.timeframe = redis, keys, timeframe
        self.last: dict[str, int] = {}

    async def begin(self, histories: Mapping[str, list[Bar]]) -> None:
        """Write a quote and the closed bars of each symbol."""
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bars in histories.items():
            quote = {"bid": bars[-1].close, "ask": bars[-1].close, "last": bars[-1].close, "volume": 0}
            state = {"ts": bars[-1].ts, "gen": 1, "source": "external", "fresh_until": 2**53}
            pipe.hset(self.keys.market(symbol), mapping=quote | state)
        await pipe.execute()
        for symbol, bars in histories.items():
            await self.close({symbol: bars})

    async def close(self, closed: Mapping[str, list[Bar]]) -> None:
        """Write bars that have closed; `announce` must follow."""
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bars in closed.items():
            members = {json.dumps(list(bar)): bar.ts for bar in bars}
            pipe.zadd(self.keys.bars(symbol, self.timeframe), members)
            self.last[symbol] = bars[-1].ts
        await pipe.execute()

    async def form(self, bars: Mapping[str, Bar]) -> None:
        """Write the present state of the forming bars."""
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bar in bars.items():
            fields = {f"bar:{self.timeframe}": json.dumps([*bar, self.last[symbol]]), "last": bar.close}
            pipe.hset(self.keys.market(symbol), mapping=fields)
        await pipe.execute()

    async def announce(self) -> None:
        """Publish the notice of a flush, as the feed does at its end."""
        notice = {"symbols": list(self.last), "ts": time.time_ns() // 1_000_000}
        await self.redis.publish(self.keys.bar_updates, json.dumps(notice))
