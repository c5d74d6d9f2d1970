"""Heartbeats of workers, and leases on shards with fencing numbers."""

import contextlib
import os
import socket
import time
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from stocksblitz.redis.keys import Keys
from stocksblitz.redis.scripts import register
from stocksblitz.workers.runtime import now_ms

HEARTBEAT_S = 1.0
ALIVE_MS = 3_500
"""A worker whose last heartbeat is older than this counts as dead: it missed three."""
LEASE_MS = 3_000
SHARDS = 64


def shard_of(name: str) -> int:
    """Return the shard of a symbol or an account; it is the same in every process."""
    return zlib.crc32(name.encode()) % SHARDS


def fence_key(keys: Keys, kind: str, shard: int) -> str:
    """Return the key of the highest fencing number that was given out for a shard."""
    return f"{keys.lease(kind, shard)}:fence"


def worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


@dataclass
class ShardLeases:
    """The shards that this worker may work on, each with its fencing number.

    A fence is the larger of the old one plus one and the clock in milliseconds, so that it grows even over a Redis that
    was flushed. Whoever writes with a fence lower than one already seen is refused by the write itself; the lease only
    keeps that rare.
    """

    redis: Any
    keys: Keys
    kind: str
    me: str = field(default_factory=worker_id)
    held: dict[int, int] = field(default_factory=dict)
    renewed: float = 0.0

    def __post_init__(self) -> None:
        self._acquire = register(self.redis, __file__, "acquire_lease")
        self._release = register(self.redis, __file__, "release_lease")

    async def step(self) -> set[int]:
        """Write the heartbeat, renew the leases held, take free ones up to a fair share, and release those over it.

        Returns the shards whose fence is new (taken now, or taken again after they were lost).
        """
        began = time.monotonic()
        workers = await self.beat()
        share = -(-SHARDS // max(1, len(workers)))
        for shard in sorted(self.held)[share:]:
            await self.release(shard)
        before = dict(self.held)
        kept = await self._take(list(before))
        first = zlib.crc32(self.me.encode()) % SHARDS  # workers begin at different places
        others = [shard for i in range(SHARDS) if (shard := (first + i) % SHARDS) not in kept]
        missing = share - len(kept)
        taken: dict[int, int] = {}
        while missing > len(taken) and others:
            wanted, others = others[: missing - len(taken)], others[missing - len(taken) :]
            taken |= await self._take(wanted)
        self.held = kept | taken
        self.renewed = began
        return {shard for shard, fence in self.held.items() if before.get(shard) != fence}

    async def beat(self) -> list[bytes]:
        """Write the heartbeat; return the workers that are alive."""
        name, now = self.keys.workers(self.kind), now_ms()
        pipe = self.redis.pipeline(transaction=False)
        pipe.zadd(name, {self.me: now})
        pipe.zremrangebyscore(name, 0, now - ALIVE_MS)
        pipe.zrange(name, 0, -1)
        workers: list[bytes] = (await pipe.execute())[2]
        return workers

    async def _take(self, shards: list[int]) -> dict[int, int]:
        """Renew or take these shards in one round trip; return those that are ours now, with their fences."""
        if not shards:
            return {}
        pipe = self.redis.pipeline(transaction=False)
        for shard in shards:
            lease, fence = self.keys.lease(self.kind, shard), fence_key(self.keys, self.kind, shard)
            await self._acquire(keys=[lease, fence], args=[self.me, now_ms(), LEASE_MS], client=pipe)
        answers = await pipe.execute()
        return {shard: int(fence) for shard, fence in zip(shards, answers, strict=True) if fence}

    async def release(self, shard: int) -> None:
        self.held.pop(shard, None)
        await self._release(keys=[self.keys.lease(self.kind, shard)], args=[self.me])

    async def close(self) -> None:
        """Release every lease, so that other workers need not wait until it expires."""
        with contextlib.suppress(RedisError, OSError):
            for shard in list(self.held):
                await self.release(shard)
            await self.redis.zrem(self.keys.workers(self.kind), self.me)

    def fence(self, name: str) -> int | None:
        """Return the fencing number for a symbol or account; None when its shard is not ours."""
        return self.fence_of(shard_of(name))

    def fence_of(self, shard: int) -> int | None:
        """Return the fencing number of a shard; None when the shard is not ours."""
        if time.monotonic() - self.renewed > LEASE_MS / 1000:
            return None
        return self.held.get(shard)
