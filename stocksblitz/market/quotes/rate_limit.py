"""A rate limit that queues: each call is given its moment, in the order of asking, over all processes."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from stocksblitz.api.errors import StocksBlitzError

# Generic cell rate algorithm: the key holds the moment (Redis's clock, microseconds) at which the next call
# would be due if calls came evenly. One step reserves that moment, so that waiters never race and nobody has
# to poll.
_RESERVE = """
local interval, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now)
local wait = math.max(0, due - now - (burst - 1) * interval)
if wait > most then return -1 end
local after = due + interval
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return wait
"""
QUEUE_S = 30.0
"""A call that would wait longer is refused: whoever asked for it has long given up."""

Run = Callable[[str, list[str], list[Any]], Awaitable[Any]]
"""Runs a script with its keys and arguments."""


class RateLimit:
    """So many calls a second for one account; ``burst`` of them may come at once."""

    def __init__(self, run: Run, name: str, rate: float, burst: int) -> None:
        self._run, self._name, self._burst = run, name, burst
        self._interval = math.ceil(1_000_000 / rate)

    async def wait(self) -> None:
        """Return when it is this call's turn; StocksBlitzError rate_limited when the queue is too long."""
        wait = await self._run(_RESERVE, [self._name], [self._interval, self._burst, int(QUEUE_S * 1e6)])
        if wait < 0:
            raise StocksBlitzError(
                "rate_limited",
                f"More than {QUEUE_S:.0f} s of calls wait for this quote account. Try again later.",
            )
        await asyncio.sleep(wait / 1e6)
