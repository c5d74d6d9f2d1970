"""Runs one feed: holds the lease, moves it and flushes it until the stop."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.feeds.bar_archive import Archive
from stocksblitz.market.feeds.base import Feed
from stocksblitz.market.feeds.lease import FeedLease
from stocksblitz.market.feeds.session_tables import SessionTables
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.feeds.writer import MarketWriter
from stocksblitz.market.store.purge import purge
from stocksblitz.observability import aggregation
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.leases import HEARTBEAT_S
from stocksblitz.workers.runtime import now_ms, stop_event, wait

log = logging.getLogger(__name__)

ARCHIVE_S = 0.5
"""How long closed bars are collected before they are saved together."""
TABLES_S = 10.0
"""How soon the session table of a new instrument's exchange is written."""
CLOSE_WITHIN_S = 1.5
"""The last flush and the lease's return may take this long after a stop."""


class LeaseLost(Exception):
    """Another feed writes to this realm now; the supervisor starts this process again to wait for the lease."""


def make_feed(spec: FeedSpec, redis: Any, names: Keys, archive: Archive) -> Feed:
    """Return the feed that the setting names."""
    if spec.name == "simulated":
        from stocksblitz.market.feeds.simulated.feed import SimulatedFeed, chosen

        return SimulatedFeed(settings.SIMULATED_SEED, redis, names, chosen(spec))
    if spec.name == "replay":
        from stocksblitz.market.feeds.replay.feed import ReplayFeed

        return ReplayFeed(spec, redis, names)
    if spec.name == "external":
        from stocksblitz.market.feeds.external.feed import ExternalFeed

        return ExternalFeed(spec, redis, names, archive)
    raise StocksBlitzError(
        "invalid_parameter", f"there is no feed {spec.name!r}: simulated, replay, external"
    )


class FeedProcess:
    """One feed process. ``once``: end when the feed has nothing more to do."""

    def __init__(self, spec: FeedSpec, *, once: bool = False) -> None:
        self.redis, self.keys, self.once = connect(), current_keys(), once
        self.archive = Archive(self.redis, self.keys)
        self.feed = make_feed(spec, self.redis, self.keys, self.archive)
        archive = None if spec.mock else self.archive
        self.writer = MarketWriter(self.redis, self.keys, self.feed, mock=spec.mock, archive=archive)
        self.tables = SessionTables(self.redis, self.keys, self.feed.years)
        self.lease = FeedLease(self.redis, self.keys, "feed")
        self.opened = False

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT (or, once, until everything is written)."""
        with stop_event() as stop:
            try:
                await self._wait_for_lease(stop)
                await self._work(stop)
            finally:
                await self._close()

    async def _wait_for_lease(self, stop: asyncio.Event) -> None:
        ours = asyncio.Event()

        async def attempt() -> None:
            if stop.is_set() or await self.lease.renew():
                ours.set()

        task = asyncio.create_task(retry_forever("lease", attempt, ours, every=0.2))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        ours.set()
        stopped.cancel()
        await task

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            side = [
                tasks.create_task(retry_forever("lease", self._hold, stop, every=HEARTBEAT_S)),
                tasks.create_task(self.feed.intake(stop)),
                tasks.create_task(aggregation.run(stop)),
                tasks.create_task(retry_forever("sessions", self.tables.step, stop, every=TABLES_S)),
                tasks.create_task(retry_forever("archive", lambda: self._save(stop), stop, every=0)),
            ]
            await retry_forever("feed", lambda: self._turn(stop), stop, every=0, cap=0.5)
            for task in side:
                task.cancel()

    async def _save(self, stop: asyncio.Event) -> None:
        if not await self.archive.step():
            await wait(stop, ARCHIVE_S)

    async def _hold(self) -> None:
        if not await self.lease.renew():
            raise LeaseLost

    async def _turn(self, stop: asyncio.Event) -> None:
        began = time.monotonic()
        if not self.opened:
            await self._open()
        more = await self.feed.step(now_ms())
        if self.lease.ours:
            await self.writer.flush()
            await self._keep_hot_store()
        if self.once and self.feed.finished:
            stop.set()
        if not more:
            await wait(stop, max(0.0, settings.FEED_FLUSH_MS / 1000 - (time.monotonic() - began)))

    async def _keep_hot_store(self) -> None:
        if self.writer.lost:
            await self.writer.refill(list(self.writer.lost))
        elif self.feed.complete and not self.writer.marked:
            await self.writer.mark()

    async def _open(self) -> None:
        intact = await self.writer.inspect()
        if self.writer.mock and not intact:
            await purge(self.redis, self.keys)
        await self.feed.open(intact=intact, gen=self.writer.gen)
        self.opened = True
        if not self.writer.mock and not intact:
            await self.writer.refill(list(self.feed.markets))
        log.info("the feed runs", extra={"action": "start", "feed": self.feed.source})

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError, RedisError, OSError, DatabaseError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                if self.opened and self.lease.ours:
                    await self.writer.flush()
                    while await self.archive.step():
                        pass
                await self.feed.close()
                await self.lease.close()
                await self.redis.aclose()
