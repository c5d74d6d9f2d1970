"""Snapshots into Redis, never an older one over a newer one, and announcements of them in batches."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from django.conf import settings

from portfolio.margin.snapshot_decoder import MAX_AHEAD_MS
from stocksblitz.redis.keys import MOCK_TTL_S, Keys
from stocksblitz.redis.scripts import register
from stocksblitz.workers.leases import fence_key, shard_of

LEASES = "portfolio"
"""The kind of leases that the shards of accounts have."""
BATCH = 250
"""Accounts of one script: Redis serves nobody else while it runs, so it is kept to about a millisecond."""


def updates(names: Keys) -> str:
    """Return the channel of new snapshots: JSON ``{"accounts": [...]}``."""
    return names.name("portfolio", "updates")


class WrittenSnapshot(NamedTuple):
    """A snapshot to write, and whether it differs from the one before, so that it is announced."""

    account: str
    snapshot: bytes
    is_news: bool


class SnapshotWriter:
    """Writes the snapshots of one engine."""

    def __init__(self, redis: Any, names: Keys) -> None:
        self._redis = redis
        self._names = names
        self._script = register(redis, __file__, "write_snapshots")

    async def write(self, accounts: Sequence[str], snapshots: Sequence[bytes]) -> list[str]:
        """Write snapshots; return the accounts that were refused because something newer stands there."""
        refused: list[str] = []
        for start in range(0, len(accounts), BATCH):
            part = slice(start, start + BATCH)
            refused += await self._write_batch(accounts[part], snapshots[part])
        return refused

    async def _write_batch(self, accounts: Sequence[str], snapshots: Sequence[bytes]) -> list[str]:
        shards = [shard_of(account) for account in accounts]
        places = {shard: len(accounts) + n for n, shard in enumerate(dict.fromkeys(shards), 1)}
        keys = [self._names.snapshot(account) for account in accounts]
        fences = [fence_key(self._names, LEASES, shard) for shard in places]
        ttl = MOCK_TTL_S if settings.FEED.mock else 0
        sizes = ",".join([str(len(snapshot)) for snapshot in snapshots])
        fence_places = ",".join([str(places[shard]) for shard in shards])
        found = await self._script(
            keys=keys + fences, args=[ttl, b"".join(snapshots), sizes, fence_places, MAX_AHEAD_MS]
        )
        return [accounts[index - 1] for index in found]

    async def announce(self, accounts: Sequence[str]) -> None:
        """Name the accounts whose snapshot is new to the sockets of all processes."""
        if accounts:
            await self._redis.publish(updates(self._names), orjson.dumps({"accounts": list(accounts)}))

    async def write_all(self, rows: Sequence[WrittenSnapshot]) -> tuple[int, set[str]]:
        """Write snapshots and announce the news; return how many were announced, and which accounts were refused.

        The next batch is being sent while Redis still works on the one before.
        """
        tasks = []
        for start in range(0, len(rows), BATCH):
            tasks.append(asyncio.ensure_future(self._write_and_announce(rows[start : start + BATCH])))
            await asyncio.sleep(0)
        announced, refused = 0, set[str]()
        for task in tasks:
            count, bad = await task
            announced, refused = announced + count, refused | bad
        return announced, refused

    async def _write_and_announce(self, rows: Sequence[WrittenSnapshot]) -> tuple[int, set[str]]:
        refused = set(await self.write([row.account for row in rows], [row.snapshot for row in rows]))
        news = [row.account for row in rows if row.is_news and row.account not in refused]
        await self.announce(news)
        return len(news), refused
