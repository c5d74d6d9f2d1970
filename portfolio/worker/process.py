"""One portfolio process: listener, leases, the cycle, the sweep, and its status report."""

import asyncio
import logging
import time
from collections import Counter
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError
from redis.exceptions import RedisError

from portfolio.services.announcements import changes
from portfolio.services.demo_accounts import create_demo_accounts, missing_accounts
from portfolio.worker import equity_history
from portfolio.worker.database import Store, run_and_release_connection
from portfolio.worker.engine import Engine
from portfolio.worker.equity_history import EVERY_S, EquityHistory
from portfolio.worker.price_listener import PortfolioCalculatorListener
from portfolio.worker.snapshot_writer import LEASES
from portfolio.worker.status import COUNTED, DIRTY, MAX_NAMES, STATISTICS, report_key
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability import aggregation as process_metrics
from stocksblitz.observability import metrics
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.leases import ShardLeases
from stocksblitz.workers.runtime import now_ms, stop_event, wait

log = logging.getLogger(__name__)

REPORT_S = 0.8
LOG_S = 60.0
SEED_TRIES = 60


def create_missing_demo_accounts() -> bool:
    """Create the demo accounts whose prices are known; return whether all of them exist."""
    owner = User.objects.filter(username="demo").first()
    if owner is None:
        return False
    for key, missing in create_demo_accounts(owner):
        if not missing:
            equity_history.request(key)
    return not missing_accounts()


class PortfolioProcess:
    def __init__(self) -> None:
        self.redis = connect()
        self.names = current_keys()
        self.leases = ShardLeases(self.redis, self.names, LEASES)
        self.listener = PortfolioCalculatorListener(
            self.redis,
            self.names,
            settings.PORTFOLIO_USER_TYPES,
            bound=settings.PORTFOLIO_MAX_DIRTY,
            mine=lambda key: self.leases.fence(key) is not None,
        )
        self.engine = Engine(self.redis, self.names, self.listener, self.leases, Store())
        self.listener.also(changes(self.names), self.engine.accounts.on_change)
        self.equity_history = EquityHistory(self.redis, self.names, self.engine.book)
        self._counted: Counter[str] = Counter()
        self._logged = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until the stop; only a failure that is not of Redis or the database ends the process."""
        await self.listener.start_listener()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    retry_forever("portfolio leases", self.engine.renew_leases, stop, every=1.0)
                )
                tasks.create_task(
                    retry_forever("portfolio loading", self.engine.accounts.load, stop, every=0.1)
                )
                tasks.create_task(
                    retry_forever(
                        "portfolio sweep", self.engine.sweep, stop, every=float(settings.PORTFOLIO_SWEEP_S)
                    )
                )
                tasks.create_task(process_metrics.run(stop))
                tasks.create_task(retry_forever("portfolio statistics", self.report, stop, every=REPORT_S))
                tasks.create_task(retry_forever("portfolio cycle", self._cycle, stop, every=0.0))
                tasks.create_task(
                    retry_forever("equity history", self.equity_history.add_points, stop, every=EVERY_S)
                )
                if settings.DEBUG and settings.FEED.name == "simulated":
                    tasks.create_task(self._seed(stop))
        finally:
            await self._close()

    async def _cycle(self) -> None:
        """Run one cycle and wait for the rest of its time; after a quiet one the next price is answered at once."""
        cycle, begun = settings.PORTFOLIO_CYCLE_MS / 1000, time.monotonic()
        busy = await self.engine.step()
        if busy:
            metrics.portfolio_cycle.observe(time.monotonic() - begun)
        await asyncio.sleep(max(0.001, cycle - (time.monotonic() - begun)))
        if not busy:
            await self.listener.wait_for_price(cycle)

    async def _seed(self, stop: asyncio.Event) -> None:
        """Create the demo accounts of a development server once the simulated feed has their prices."""
        for _ in range(SEED_TRIES):
            try:
                if await asyncio.to_thread(run_and_release_connection, create_missing_demo_accounts):
                    return
            except (StocksBlitzError, DatabaseError, RedisError, OSError) as error:
                log.debug("demo accounts wait: %s", error)
            if await wait(stop, 2.0):
                return

    async def report(self) -> None:
        """Leave statistics and dirty accounts in Redis for the web processes."""
        ts, me = now_ms(), self.leases.me
        dirty: dict[str, Any] = {"ts": ts}
        for kind in self.listener.user_types:
            users = self.listener.get_dirty_users(kind) | self.engine.take_recent(kind)
            dirty[kind] = {"count": len(users), "users": sorted(users)[:MAX_NAMES]}
        stats = {**self.listener.get_statistics(), **self.engine.statistics(), "ts": ts, "worker": me}
        self._count_for_prometheus(stats)
        pipe = self.redis.pipeline(transaction=False)
        for part, numbers in ((STATISTICS, stats), (DIRTY, dirty)):
            pipe.hset(report_key(part), me, orjson.dumps(numbers))
            pipe.expire(report_key(part), 60)
        await pipe.execute()
        if time.monotonic() - self._logged > LOG_S:
            self._logged = time.monotonic()
            log.info("portfolio statistics", extra={"action": "statistics", **stats})

    def _count_for_prometheus(self, stats: dict[str, Any]) -> None:
        """Set the metrics that Prometheus collects."""
        metrics.portfolio_accounts.set(stats["accounts"])
        for kind in self.listener.user_types:
            metrics.portfolio_dirty.labels(user_type=kind).set(stats[f"dirty_users_{kind}"])
        for event in COUNTED:
            metrics.portfolio.labels(event=event).inc(stats[event] - self._counted[event])
            self._counted[event] = stats[event]

    async def _close(self) -> None:
        await self.listener.stop_listener()
        await self.engine.close()
        await self.leases.close()
        try:
            await self.redis.hdel(report_key(STATISTICS), self.leases.me)
            await self.redis.hdel(report_key(DIRTY), self.leases.me)
        except (RedisError, OSError):
            log.info("Redis is away at the end", extra={"action": "close"})
        await self.redis.aclose()


async def run() -> None:
    with stop_event() as stop:
        await PortfolioProcess().run(stop)
