"""How often a quote was kept, waited for or fetched: counted in each process, added up in Redis."""

import threading
from collections.abc import Mapping
from typing import Any

from stocksblitz.market.quotes.types import Outcome
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import Keys

COUNTS = ("hits", "misses", "waits", "api_calls", "failures", "stretched")
"""``misses`` are all asks that were not hits: those that waited for another's call and those that made it.
``api_calls`` are calls to the provider, repeated attempts and batches each as one. ``stretched``: prices kept
longer as many waited."""


class QuoteCounters:
    """The counts of one account in this process, not yet carried to Redis."""

    def __init__(self, account: str, provider: str) -> None:
        self.account, self.provider = account, provider
        self._lock = threading.Lock()
        self._hits = 0
        self._others: dict[str, int] = {}

    def hit(self) -> None:
        with self._lock:
            self._hits += 1

    def add(self, *names: str) -> None:
        with self._lock:
            for name in names:
                self._others[name] = self._others.get(name, 0) + 1

    def answered(self, outcome: Outcome) -> None:
        if outcome == "hit":
            self.hit()
        elif outcome == "wait":
            self.add("misses", "waits")
        else:
            self.add("misses")

    def drain(self) -> dict[str, int]:
        """What was counted since the last time."""
        with self._lock:
            counts, self._others = self._others, {}
            counts["hits"], self._hits = self._hits, 0
        return {name: count for name, count in counts.items() if count}

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take back what could not be carried away."""
        with self._lock:
            for name, count in counts.items():
                self._others[name] = self._others.get(name, 0) + count


def stats_name(keys: Keys) -> str:
    """Hash: ``account|provider|count`` to its sum over all processes."""
    return keys.name("quotes", "stats")


async def carry(redis: Any, keys: Keys, tallies: list[QuoteCounters]) -> None:
    """Add what was counted here to the sums of all processes. RedisError: nothing is lost, it goes with the
    next."""
    drained = [(tally, counts) for tally in tallies if (counts := tally.drain())]
    if not drained:
        return
    pipe = redis.pipeline(transaction=False)
    for tally, counts in drained:
        for name, count in counts.items():
            pipe.hincrby(stats_name(keys), f"{tally.account}|{tally.provider}|{name}", count)
    try:
        await pipe.execute()
    except Exception:
        for tally, counts in drained:
            tally.restore(counts)
        raise
    for tally, counts in drained:
        for name, count in counts.items():
            metrics.quotes.labels(tally.account, tally.provider, name).inc(count)


def read(redis: Any, keys: Keys) -> dict[tuple[str, str], dict[str, int]]:
    """The sums of all processes by (account, provider), at most about a second old."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for field, count in redis.hgetall(stats_name(keys)).items():
        account, provider, name = field.decode().rsplit("|", 2)
        sums.setdefault((account, provider), dict.fromkeys(COUNTS, 0))[name] = int(count)
    return sums
