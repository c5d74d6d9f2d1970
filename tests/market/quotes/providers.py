"""Providers for the tests of quotes: what they are asked is written to Redis, so that all processes' calls are seen."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stocksblitz.market.quotes.providers import Provider
from stocksblitz.market.quotes.types import ProviderQuote
from stocksblitz.redis.client import connect


class Counting(Provider):
    """Takes ``seconds`` for a call. Counts calls in the hash ``calls``, and the most that ran at once in ``overlap``."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._redis = connect()
        self._name = options["name"]

    async def fetch(self, symbol: str) -> ProviderQuote | None:
        number = await self._redis.hincrby(f"{self._name}:calls", symbol, 1)
        running = await self._redis.hincrby(f"{self._name}:running", symbol, 1)
        if running > 1:
            await self._redis.hincrby(f"{self._name}:overlap", symbol, 1)
        await asyncio.sleep(self.options.get("seconds", 0.2))
        await self._redis.hset(f"{self._name}:ended", symbol, time.time())
        await self._redis.hincrby(f"{self._name}:running", symbol, -1)
        return ProviderQuote(100.0 + number)

    async def close(self) -> None:
        await self._redis.aclose()


class Scripted(Provider):
    """Answers what the test put into ``script``, then 1.0: a number, None for nothing, an exception to raise.

    While ``gate`` is not set, no call ends.
    """

    script: list[object] = []
    calls: list[str] = []
    made = 0
    seconds = 0.0
    gate = threading.Event()

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        type(self).made += 1

    async def fetch(self, symbol: str) -> ProviderQuote | None:
        self.calls.append(symbol)
        await self._take_time()
        answer = self.script.pop(0) if self.script else 1.0
        if isinstance(answer, BaseException):
            raise answer
        return None if answer is None else ProviderQuote(float(answer))  # type: ignore[arg-type]  # a script of numbers

    async def _take_time(self) -> None:
        await asyncio.sleep(self.seconds)
        while not self.gate.is_set():
            await asyncio.sleep(0.002)


class Batching(Scripted):
    """Takes up to 100 symbols in one call; ``batches`` are the calls."""

    batch = 100
    batches: list[list[str]] = []

    async def fetch_many(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        self.batches.append(list(symbols))
        await self._take_time()
        return {symbol: ProviderQuote(float(len(symbol))) for symbol in symbols if symbol != "MISSING"}
