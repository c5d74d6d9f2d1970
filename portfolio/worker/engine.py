"""The loop from dirty accounts to snapshots and margin decisions.

Every cycle: take what is dirty, read the prices that changed, revalue in columns, hand accounts whose margin level or
orders want a decision to threads, write and announce the snapshots that changed. Only accounts of shards whose lease is
held are in the book; whatever must not be done twice is decided in the database, never here.
"""

import logging
import random
import time
from collections import Counter
from typing import Any

import numpy as np
from django.conf import settings

from portfolio.margin.fx import Graph
from portfolio.valuation.book import Book
from portfolio.valuation.column_table import Flags, Ints
from portfolio.valuation.drift_check import DriftSample, Sampler
from portfolio.worker.database import Store
from portfolio.worker.decisions import Decisions
from portfolio.worker.market_reader import MarketReader
from portfolio.worker.price_listener import PortfolioCalculatorListener
from portfolio.worker.shard_accounts import ShardAccounts
from portfolio.worker.side_tasks import CLOSE_S, SideTasks
from portfolio.worker.snapshot_outbox import Outbox
from portfolio.worker.snapshot_writer import SnapshotWriter
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.leases import SHARDS, ShardLeases

log = logging.getLogger(__name__)

UNKNOWN_S = 60.0
"""Accounts that outsiders name in the public sets, and that no database knows, are shown as dirty for this long."""

_COUNTS = (
    "accounts_revalued", "snapshots_written", "snapshots_refused", "announced",
    "decisions", "drift_checks", "drift_alarms",
)  # fmt: skip


class Engine:
    """Values the accounts of one process, and has decisions about them made."""

    def __init__(
        self,
        redis: Any,
        names: Keys,
        listener: PortfolioCalculatorListener,
        leases: ShardLeases,
        store: Store,
    ) -> None:
        self._listener = listener
        self._leases = leases
        self._store = store
        self._tasks = SideTasks()
        self.stats: Counter[str] = Counter()
        self.book = Book(Graph(()))
        self.market = MarketReader(redis, names, self.book)
        self.outbox = Outbox(self.book, SnapshotWriter(redis, names), self.stats)
        self.decisions = Decisions(self.book, store, self.stats, lambda key: self.accounts.mark_changed(key))
        self.accounts = ShardAccounts(self.book, leases, store, self.market, self.outbox, self.decisions)
        self.sample = Sampler(settings.PORTFOLIO_DRIFT_SAMPLE, random.Random())
        self._recent: dict[str, set[str]] = {kind: set() for kind in listener.user_types}
        self._unknown: dict[str, float] = {}

    async def renew_leases(self) -> None:
        """Renew the leases; have holders looked up again when the shards are not those that they were."""
        fresh = await self.accounts.renew_leases()
        if fresh or self.stats["shards"] != len(self._leases.held):
            self._listener.forget_holders()
        self.stats["shards"] = len(self._leases.held)

    async def sweep(self) -> None:
        """Compare everything with database and prices, whatever was announced; write the snapshots that differ."""
        await self.accounts.compare()
        await self.market.read(self.market.needed())
        self.book.revalue()
        self.outbox.queue(self.outbox.different(np.array(list(self.book.index.values()), np.int64)))
        await self.accounts.ask(self._store.renew_holders, sorted(self.market.needed()))

    # --- One cycle

    async def step(self) -> bool:
        """Run one cycle; return whether there was anything to do."""
        dirty = self._take_dirty()
        symbols = set(filter(self.market.is_needed, self._listener.take_symbols()))
        symbols.update(self.market.expiring())
        reloaded = await self.accounts.reloaded()
        changed = await self.market.read(symbols)
        slots = np.concatenate([dirty, reloaded, self.book.depending(changed), self.outbox.waiting()])
        slots = np.unique(slots)
        if len(slots):
            self._revalue(slots)
        self.decisions.start(symbols)
        written = await self.outbox.write(self._held_shards())
        return bool(len(slots) or written)

    def _revalue(self, slots: Ints) -> None:
        self.book.revalue(slots)
        self.outbox.queue(slots)
        self.stats["accounts_revalued"] += len(slots)
        self._sample(slots)

    def _held_shards(self) -> Flags:
        return np.array([self._leases.fence_of(shard) is not None for shard in range(SHARDS)])

    def _take_dirty(self) -> Ints:
        """Take the dirty accounts of the listener; return the slots of those that are in the book."""
        found: list[int] = []
        now = time.monotonic()
        for kind in self._listener.user_types:
            taken = self._listener.get_and_clear_dirty_users(kind)
            self._recent[kind] |= taken
            slots = [self.book.index.get(key, 0) for key in taken]
            found += filter(None, slots)
            if not all(slots):
                self._unknown |= {key: now for key in taken if key not in self.book.index}
            if self._listener.take_overflow(kind):
                found += self.book.index.values()
        self._unknown = {key: at for key, at in self._unknown.items() if now - at < UNKNOWN_S}
        return np.array(found, np.int64)

    def take_recent(self, kind: str) -> set[str]:
        """Take the accounts of a type that were dirty since this was last called; add those that nobody knows."""
        recent, self._recent[kind] = self._recent[kind], set()
        return recent | {key for key in self._unknown if key.startswith(f"{kind}:")}

    # --- Drift

    def _sample(self, slots: Ints) -> None:
        """Have one account checked against the oracle now and then."""
        if self.sample.wanted(len(slots)):
            key = self.book.keys[int(slots[self.sample.pick(len(slots))])]
            if key is not None and not self.decisions.is_busy(key):
                sample = self.sample.take(self.book, key, self.accounts.revision[key])
                self._tasks.start(self._check_drift(sample))

    async def _check_drift(self, sample: DriftSample) -> None:
        self.stats["drift_checks"] += 1
        difference = await self.accounts.ask(self._store.check_drift, sample)
        if difference:
            self.stats["drift_alarms"] += 1
            extra = {"action": "drift", "account": sample.key}
            log.error("columns and oracle differ: %s", difference, extra=extra)
            self.accounts.mark_changed(sample.key)

    def statistics(self) -> dict[str, Any]:
        """Return the counters since the start, and the number of accounts and positions in the book."""
        held = {"accounts": len(self.book), "positions": int((self.book.rows.units != 0).sum())}
        return {**dict.fromkeys(_COUNTS, 0), **self.stats, **held}

    async def close(self) -> None:
        """Finish what is under way, then end the threads."""
        await self._tasks.close()
        await self.decisions.close()
        await self.accounts.close(CLOSE_S)
