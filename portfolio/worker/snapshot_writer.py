"""Snapshots into Redis, never an older one over a newer one, and the news of them in batches."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import orjson
from django.conf import settings

from stocksblitz.redis.keys import MOCK_TTL_S, Keys

log = logging.getLogger(__name__)

BATCH = 250
"""Accounts of one script: Redis serves nobody else while it runs, so it is kept to about a millisecond."""

# Epoch (the fence of the shard's lease) and version stand first in a snapshot. An engine that was paused or
# lost its lease comes with a lower pair and changes nothing. The snapshots come as one text and their sizes:
# an argument for each costs the client more than cutting the text costs Redis.
_WRITE = """
local refused, at = {}, 1
local pattern = '^{"epoch":(%d+),"version":(%d+)'
local ttl, text, sizes = tonumber(ARGV[1]), ARGV[2], string.gmatch(ARGV[3], '%d+')
for i, key in ipairs(KEYS) do
  local size = tonumber(sizes())
  local new = string.sub(text, at, at + size - 1)
  at = at + size
  local epoch, version = string.match(new, pattern)
  local old_epoch, old_version = string.match(redis.call('GETRANGE', key, 0, 63), pattern)
  old_epoch, old_version = tonumber(old_epoch), tonumber(old_version)
  epoch, version = tonumber(epoch), tonumber(version)
  if old_epoch and (old_epoch > epoch or (old_epoch == epoch and old_version >= version)) then
    refused[#refused + 1] = i
  elseif ttl > 0 then
    redis.call('SET', key, new, 'EX', ttl)
  else
    redis.call('SET', key, new)
  end
end
return refused
"""


def updates(names: Keys) -> str:
    """Channel: JSON ``{"accounts": [...]}`` of the accounts whose snapshot is new."""
    return names.name("portfolio", "updates")


class SnapshotWriter:
    def __init__(self, redis: Any, names: Keys) -> None:
        self._redis = redis
        self._names = names
        self._script = redis.register_script(_WRITE)

    async def write(self, keys: Sequence[str], values: Sequence[bytes]) -> list[str]:
        """Write one batch; returns the accounts that were refused because something newer stands there."""
        names, ttl = [self._names.snapshot(key) for key in keys], MOCK_TTL_S if settings.FEED.mock else 0
        refused: list[str] = []
        for start in range(0, len(keys), BATCH):
            part = slice(start, start + BATCH)
            sizes = ",".join([str(len(value)) for value in values[part]])
            found = await self._script(keys=names[part], args=[ttl, b"".join(values[part]), sizes])
            refused += [keys[start + index - 1] for index in found]
        return refused

    async def announce(self, accounts: Sequence[str]) -> None:
        if accounts:
            await self._redis.publish(updates(self._names), orjson.dumps({"accounts": list(accounts)}))

    async def write_all(self, rows: Sequence[tuple[str, bytes, bool]]) -> tuple[int, set[str]]:
        """Write (account, snapshot, whether to announce it); returns how many were announced, and who was
        refused.

        The next batch is being sent while Redis still works on the one before.
        """
        refused: set[str] = set()
        told = 0
        size = BATCH

        async def batch(part: Sequence[tuple[str, bytes, bool]]) -> int:
            bad = set(await self.write([row[0] for row in part], [row[1] for row in part]))
            refused.update(bad)
            news = [row[0] for row in part if row[2] and row[0] not in bad]
            await self.announce(news)
            return len(news)

        tasks = []
        for start in range(0, len(rows), size):
            tasks.append(asyncio.ensure_future(batch(rows[start : start + size])))
            await asyncio.sleep(0)
        for task in tasks:
            told += await task
        return told, refused
