"""Lease that lets only one feed process write a realm."""

import time

from stocksblitz.workers.leases import LEASE_MS, ShardLeases
from stocksblitz.workers.runtime import now_ms


class FeedLease(ShardLeases):
    """A single lease. ``ours`` is trusted only as long as the last renewal surely holds in Redis."""

    async def renew(self) -> bool:
        """Write the heartbeat and take or keep the lease; return whether it is ours."""
        began = time.monotonic()
        await self.beat()
        name = self.keys.lease(self.kind, 0)
        fence = int(await self._acquire(keys=[name, f"{name}:fence"], args=[self.me, now_ms(), LEASE_MS]))
        self.held, self.renewed = ({0: fence}, began) if fence else ({}, 0.0)
        return bool(fence)

    @property
    def ours(self) -> bool:
        """Return whether no other process can hold the lease now."""
        return bool(self.held) and time.monotonic() - self.renewed < LEASE_MS / 1000
