"""Plays the feed for a real compute worker: closed bars in the hot store, forming ones in the hashes, notices."""

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

from stocksblitz.market.core.bars import MINUTE_MS, Bar
from stocksblitz.redis.keys import Keys

DAY_MS = 1_440 * MINUTE_MS
SHARES = 5_000.0


def walk(seed: int, count: int, start_ms: int) -> list[Bar]:
    """A random walk of one-minute bars, the same for one seed; a session is a day."""
    rng, price, bars = random.Random(seed), 1_000.0 + seed, []
    for ts in range(start_ms, start_ms + count * MINUTE_MS, MINUTE_MS):
        opened, price = price, price * (1 + rng.gauss(0, 0.001))
        high, low = max(opened, price) * 1.0003, min(opened, price) * 0.9997
        bars.append(Bar(ts, opened, high, low, price, rng.random() * SHARES, ts - ts % DAY_MS))
    return bars


def forming(bars: list[Bar]) -> Iterator[Bar]:
    """The bar after these, forming without end: its close moves with every tick."""
    last = bars[-1]
    for tick in itertools.count():
        close = last.close * (1 + 0.0001 * (tick % 17 - 8))
        high, low = max(last.close, close) * 1.0005, min(last.close, close) * 0.9995
        yield Bar(last.ts + MINUTE_MS, last.close, high, low, close, 100.0 + tick % 1000, last.session)


class Playback:
    """Bars of one timeframe, symbol by symbol; `begin` with history, then `close`, `form` and `tell` as they come."""

    def __init__(self, redis: Any, keys: Keys, timeframe: str) -> None:
        self.redis, self.keys, self.timeframe = redis, keys, timeframe
        self.last: dict[str, int] = {}

    async def begin(self, histories: Mapping[str, list[Bar]]) -> None:
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bars in histories.items():
            quote = {"bid": bars[-1].close, "ask": bars[-1].close, "last": bars[-1].close, "volume": 0}
            state = {"ts": bars[-1].ts, "gen": 1, "source": "external", "fresh_until": 2**53}
            pipe.hset(self.keys.market(symbol), mapping=quote | state)
        await pipe.execute()
        for symbol, bars in histories.items():
            await self.close({symbol: bars})

    async def close(self, closed: Mapping[str, list[Bar]]) -> None:
        """Bars that closed, before anything tells of them."""
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bars in closed.items():
            members = {json.dumps(list(bar)): bar.ts for bar in bars}
            pipe.zadd(self.keys.bars(symbol, self.timeframe), members)
            self.last[symbol] = bars[-1].ts
        await pipe.execute()

    async def form(self, bars: Mapping[str, Bar]) -> None:
        """The forming bars as they are now."""
        pipe = self.redis.pipeline(transaction=False)
        for symbol, bar in bars.items():
            fields = {f"bar:{self.timeframe}": json.dumps([*bar, self.last[symbol]]), "last": bar.close}
            pipe.hset(self.keys.market(symbol), mapping=fields)
        await pipe.execute()

    async def tell(self) -> None:
        """One flush is over."""
        notice = {"symbols": list(self.last), "ts": time.time_ns() // 1_000_000}
        await self.redis.publish(self.keys.bar_updates, json.dumps(notice))
