"""The rate limit of one account at a provider: calls queue in the order of asking, over all processes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.rate_limit import SCRIPT, RateLimit, Turn

QUEUE_S = 30.0
"""A call that would wait longer is refused: its caller has given up long before."""

Run = Callable[[str, list[str], list[Any]], Awaitable[Any]]
"""Runs a script with its keys and arguments."""


class CallQueue:
    """Lets ``rate`` calls a second through for one account; ``burst`` of them may come at once."""

    def __init__(self, run: Run, name: str, rate: float, burst: int) -> None:
        self._run, self._name = run, name
        self._limit = RateLimit(calls=rate, per_s=1.0, burst=burst, longest_wait_s=QUEUE_S)

    async def wait(self) -> None:
        """Wait until this call may be made; StocksBlitzError rate_limited when the queue is too long."""
        turn = Turn.of(await self._run(SCRIPT, [self._name], [*self._limit.args]))
        if not turn.accepted:
            raise StocksBlitzError(
                "rate_limited",
                f"More than {QUEUE_S:.0f} s of calls wait for this quote account. Try again later.",
            )
        await asyncio.sleep(turn.wait_s)
