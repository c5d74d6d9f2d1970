"""How often a quote came from the cache, from another's fetch or from the provider: summed over processes in Redis."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from stocksblitz.market.quotes.types import Outcome
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import Keys

COUNTS = ("hits", "misses", "waits", "api_calls", "failures", "stretched")
"""``misses`` are all asks that were not hits: those that waited for another's call and those that made it.
``api_calls`` are calls to the provider; each repeated attempt and each batch counts as one. ``stretched`` are prices
that were kept longer because many callers waited for them."""


class QuoteCounters:
    """The counts of one account in this process that are not in Redis yet."""

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
        """Return what was counted since the last call."""
        with self._lock:
            counts, self._others = self._others, {}
            counts["hits"], self._hits = self._hits, 0
        return {name: count for name, count in counts.items() if count}

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take back counts that could not be written."""
        with self._lock:
            for name, count in counts.items():
                self._others[name] = self._others.get(name, 0) + count


def stats_name(keys: Keys) -> str:
    """Return the key of a hash: ``account|provider|count`` to its sum over all processes."""
    return keys.name("quotes", "stats")


async def write_counters(redis: Any, keys: Keys, accounts: Sequence[QuoteCounters]) -> None:
    """Add what was counted here to the sums of all processes; after a RedisError it goes with the next call."""
    drained = [(counters, counts) for counters in accounts if (counts := counters.drain())]
    if not drained:
        return
    pipe = redis.pipeline(transaction=False)
    for counters, counts in drained:
        for name, count in counts.items():
            pipe.hincrby(stats_name(keys), f"{counters.account}|{counters.provider}|{name}", count)
    try:
        await pipe.execute()
    except Exception:  # whatever failed, the counts go with the next write; the error is raised
        for counters, counts in drained:
            counters.restore(counts)
        raise
    for counters, counts in drained:
        for name, count in counts.items():
            metrics.quotes.labels(counters.account, counters.provider, name).inc(count)


def read(redis: Any, keys: Keys) -> dict[tuple[str, str], dict[str, int]]:
    """Return the sums of all processes by (account, provider), at most about a second old."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for field, count in redis.hgetall(stats_name(keys)).items():
        account, provider, name = field.decode().rsplit("|", 2)
        sums.setdefault((account, provider), dict.fromkeys(COUNTS, 0))[name] = int(count)
    return sums
