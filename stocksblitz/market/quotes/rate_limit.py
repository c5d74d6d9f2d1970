"""A rate limit that queues: each call is given its time, in the order of asking, over all processes."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.scripts import script_text

_RESERVE = script_text(__file__, "reserve_call")
QUEUE_S = 30.0
"""A call that would wait longer is refused: its caller has given up long before."""

Run = Callable[[str, list[str], list[Any]], Awaitable[Any]]
"""Runs a script with its keys and arguments."""


class RateLimit:
    """Lets so many calls a second through for one account; ``burst`` of them may come at once."""

    def __init__(self, run: Run, name: str, rate: float, burst: int) -> None:
        self._run, self._name, self._burst = run, name, burst
        self._interval = math.ceil(1_000_000 / rate)

    async def wait(self) -> None:
        """Wait until this call may be made; StocksBlitzError rate_limited when the queue is too long."""
        wait = await self._run(_RESERVE, [self._name], [self._interval, self._burst, int(QUEUE_S * 1e6)])
        if wait < 0:
            raise StocksBlitzError(
                "rate_limited",
                f"More than {QUEUE_S:.0f} s of calls wait for this quote account. Try again later.",
            )
        await asyncio.sleep(wait / 1e6)
