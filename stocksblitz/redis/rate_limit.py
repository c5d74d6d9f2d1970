"""One rate limit over all processes: so many calls in a time, some of them at once, the others in their turn."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from stocksblitz.redis.client import sync_client
from stocksblitz.redis.scripts import register, script_text


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``calls`` in every ``per_s`` seconds; ``burst`` of them may come at once.

    A call that would have to wait longer than ``longest_wait_s`` is refused.
    """

    calls: float
    per_s: float
    burst: int
    longest_wait_s: float = 0.0

    @property
    def args(self) -> list[int]:
        """ARGV of ``take_call.lua``."""
        return [math.ceil(self.per_s * 1e6 / self.calls), self.burst, int(self.longest_wait_s * 1e6)]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a limit says of one call: when it may be made, or when to try again."""

    accepted: bool
    wait_s: float

    @classmethod
    def of(cls, answer: int) -> "Turn":
        """Return the turn that an answer of ``take_call.lua`` means."""
        return cls(answer >= 0, abs(answer) / 1e6)


SCRIPT = script_text(__file__, "take_call")
"""For callers that send scripts in pipelines of their own: KEYS is the key, ARGV is `RateLimit.args`."""


@cache
def _script(client: Any) -> Any:
    return register(client, __file__, "take_call")


def take(key: str, limit: RateLimit) -> Turn:
    """Count one call under this key and return its turn; a refused call is not counted."""
    return Turn.of(int(_script(sync_client())(keys=[key], args=limit.args)))
