"""The loop from dirty accounts to snapshots and margin decisions.

Every cycle: take what is dirty, read the prices that changed, revalue in columns, hand accounts whose
margin level or orders want a decision to the database's thread, write and announce the snapshots that
changed. Only accounts of shards whose lease is held are in the book; whatever must not be done twice is
decided in the database, never here.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from django.conf import settings
from django.db import DatabaseError

from portfolio.margin.fx import Graph
from portfolio.services.prices import FIELDS, tick_of
from portfolio.valuation.book import OK, STALE, STOP, Book
from portfolio.valuation.column_table import Flags, Ints
from portfolio.valuation.drift_check import DriftSample, Sampler
from portfolio.valuation.order_triggers import Triggers
from portfolio.valuation.snapshot_json import static_of
from portfolio.worker.database import Loaded, Store, job
from portfolio.worker.price_listener import PortfolioCalculatorListener
from portfolio.worker.snapshot_outbox import Outbox
from portfolio.worker.snapshot_writer import SnapshotWriter
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.leases import SHARDS, ShardLeases, shard_of
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

RETRY_S = 0.2
"""An account about which nothing was decided is looked at again after this long: its price may have come
back.
"""
FAILED_S = 2.0
RELOAD_S = 0.1
"""A cycle waits no longer for accounts that are read anew: a database that takes its time delays no price."""
SHARDS_AT_ONCE = 4
TOGETHER = 20
"""Accounts decided about by one thread, one after the other, before others get a turn."""
UNKNOWN_S = 60.0
"""Accounts that outsiders name in the public sets, and that no database knows, are shown as dirty for this
long.
"""


_COUNTS = (
    "accounts_revalued", "snapshots_written", "snapshots_refused", "announced",
    "decisions", "drift_checks", "drift_alarms",
)  # fmt: skip


class Engine:
    def __init__(
        self,
        redis: Any,
        names: Keys,
        listener: PortfolioCalculatorListener,
        leases: ShardLeases,
        store: Store,
    ) -> None:
        self._redis = redis
        self._names = names
        self._listener = listener
        self._leases = leases
        self._store = store
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="portfolio-read")
        self._decisions = ThreadPoolExecutor(2, thread_name_prefix="portfolio-decide")
        self._tasks: set[asyncio.Task[None]] = set()
        self.book = Book(Graph(()))
        self.triggers = Triggers()
        self.stats: Counter[str] = Counter()
        self.outbox = Outbox(self.book, SnapshotWriter(redis, names), self.stats)
        self.recent: dict[str, set[str]] = {kind: set() for kind in listener.user_types}
        self.unknown: dict[str, float] = {}
        self._unloaded: set[int] = set()
        self._revision: dict[str, int] = {}
        self._told: dict[int, str] = {}
        self._changed: set[str] = set()
        self._reloading: asyncio.Task[Ints] | None = None
        self._reload_after = 0.0
        self._busy: dict[str, float] = {}
        self.sample = Sampler(settings.PORTFOLIO_DRIFT_SAMPLE, random.Random())

    # --- Which accounts

    async def lease(self) -> None:
        """Renew the leases; take in the accounts of shards that are new, drop those of shards that are
        lost.
        """
        fresh = await self._leases.step()
        self._unloaded = (self._unloaded | fresh) & self._leases.held.keys()
        self._drop([key for key in self.book.index if self._leases.fence(key) is None])
        if fresh or self.stats["shards"] != len(self._leases.held):
            self._listener.forget()
        self.stats["shards"] = len(self._leases.held)

    async def load(self) -> None:
        """Take in the accounts of shards that are new, a few shards at a time: leases must be renewed in between."""
        while self._unloaded:
            shards = set(sorted(self._unloaded)[:SHARDS_AT_ONCE])
            found = await self._ask(self._store.of_shards, shards)
            known = set(self.book.prices.names)
            self._take_in({key: loaded for key, loaded in found.items() if loaded.shard in self._unloaded})
            self._unloaded -= shards
            await self._read_prices(self._symbols() - known)

    async def sweep(self) -> None:
        """Whatever was missed: read what changed in the database and every price, revalue all, write what
        differs.
        """
        graph, revisions = await self._ask(self._store.overview, set(self._leases.held))
        if graph.symbols != self.book.currencies.graph.symbols:
            self.book.currencies.use(graph)
        self._drop([key for key in self.book.index if key not in revisions])
        self._changed |= {
            key
            for key, revision in revisions.items()
            if self._revision.get(key) != revision and shard_of(key) not in self._unloaded
        }
        await self._reload()
        await self._read_prices(self._symbols())
        self.book.revalue()
        self.outbox.queue(self.outbox.different(np.array(list(self.book.index.values()), np.int64)))
        await self._ask(self._store.keep_holders, sorted(self._symbols()))

    def changed(self, data: bytes) -> None:
        """Told that an account was changed in the database."""
        key = data.decode(errors="replace")
        if self._leases.fence(key) is not None:
            self._changed.add(key)

    def _take_in(self, found: dict[str, Loaded]) -> None:
        fences = {key: fence for key in found if (fence := self._leases.fence(key)) is not None}
        found = {key: found[key] for key in fences}
        if not found:
            return
        slots = self.book.put({key: loaded.account for key, loaded in found.items()})
        for slot, (key, loaded) in zip(slots.tolist(), found.items(), strict=True):
            static = static_of(key, loaded.account, settings.FEED.name)
            self.outbox.enter(slot, static, fence=fences[key], shard=loaded.shard)
            self._revision[key], self._told[slot] = loaded.revision, loaded.state
            self._busy.pop(key, None)
            self.triggers.put(key, loaded.account.orders)

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            slot = self.book.index[key]
            self.outbox.forget(slot)
            self._told.pop(slot, None)
            self._revision.pop(key, None)
            self.triggers.drop(key)
            self.book.drop([key])

    async def _reload(self) -> Ints:
        """Read accounts anew that were changed; returns their slots."""
        changed, self._changed = self._changed, set()
        if not changed:
            return np.empty(0, np.int64)
        try:
            found = await self._ask(self._store.of_keys, changed)
        except (DatabaseError, OSError):
            self._changed |= changed
            raise
        symbols = set(self.book.prices.names)
        self._take_in(found)
        # A pair or symbol that is new here has a price already, perhaps.
        new = set(self.book.prices.names) - symbols
        if new:
            await self._read_prices(new)
        self._drop([key for key in changed if key not in found and key in self.book.index])
        return np.array([self.book.index[key] for key in found if key in self.book.index], np.int64)

    async def _reloaded(self) -> Ints:
        """The slots of accounts that have been read anew; what is still being read comes with a later cycle."""
        if self._reloading is None and self._changed and time.monotonic() > self._reload_after:
            self._reloading = asyncio.ensure_future(self._reload())
        if self._reloading is None:
            return np.empty(0, np.int64)
        done, _ = await asyncio.wait({self._reloading}, timeout=RELOAD_S)
        if not done:
            return np.empty(0, np.int64)
        task, self._reloading = self._reloading, None
        try:
            return task.result()
        except (DatabaseError, OSError):  # the sweep fails too, and tells
            self._reload_after = time.monotonic() + FAILED_S
            return np.empty(0, np.int64)

    async def _ask(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reads, job, work, *arguments)

    # --- Prices

    def _symbols(self) -> set[str]:
        return {name for name in self.book.prices.names if name} | self.book.currencies.graph.symbols

    async def _read_prices(self, symbols: Iterable[str]) -> list[str]:
        """Take in the current prices of these symbols; returns those that changed anything."""
        wanted = list(symbols)
        pipe = self._redis.pipeline(transaction=False)
        for symbol in wanted:
            pipe.hmget(self._names.market(symbol), FIELDS)
        answers = await pipe.execute(raise_on_error=False) if wanted else []
        ticks = {
            s: None if isinstance(a, Exception) else tick_of(a) for s, a in zip(wanted, answers, strict=True)
        }
        return self.book.tick(ticks, now_ms())

    # --- One cycle

    async def step(self) -> bool:
        """Returns whether there was anything to do."""
        dirty = self._take_dirty()
        symbols = self._listener.take_symbols() & self._symbols()
        symbols |= set(self.book.prices.expiring(now_ms()))
        reloaded = await self._reloaded()
        changed = await self._read_prices(symbols)
        slots = np.concatenate([dirty, reloaded, self.book.depending(changed), self.outbox.waiting()])
        slots = np.unique(slots)
        if len(slots):
            self.book.revalue(slots)
            self.outbox.queue(slots)
            self.stats["accounts_revalued"] += len(slots)
            self._sample(slots)
        self._decide(symbols)
        written = await self.outbox.write(self._held())
        return bool(len(slots) or written)

    def _held(self) -> Flags:
        """Which shards are ours at this moment."""
        return np.array([self._leases.fence_of(shard) is not None for shard in range(SHARDS)])

    def _take_dirty(self) -> Ints:
        found: list[int] = []
        now = time.monotonic()
        for kind in self._listener.user_types:
            taken = self._listener.get_and_clear_dirty_users(kind)
            self.recent[kind] |= taken
            slots = [self.book.index.get(key, 0) for key in taken]
            found += filter(None, slots)
            if not all(slots):
                self.unknown |= {key: now for key in taken if key not in self.book.index}
            if self._listener.take_overflow(kind):
                found += self.book.index.values()
        self.unknown = {key: at for key, at in self.unknown.items() if now - at < UNKNOWN_S}
        return np.array(found, np.int64)

    def take_recent(self, kind: str) -> set[str]:
        """The accounts of a type that were dirty since this was last asked, and those that nobody knows."""
        recent, self.recent[kind] = self.recent[kind], set()
        return recent | {key for key in self.unknown if key.startswith(f"{kind}:")}

    def _sample(self, slots: Ints) -> None:
        if self.sample.wanted(len(slots)):
            key = self.book.keys[int(slots[self.sample.pick(len(slots))])]
            if key is not None and key not in self._busy:
                sample = self.sample.take(self.book, key, self._revision[key])
                self._start(self._check_drift(sample))

    async def _check_drift(self, sample: DriftSample) -> None:
        self.stats["drift_checks"] += 1
        difference = await self._ask(self._store.check_drift, sample)
        if difference:
            self.stats["drift_alarms"] += 1
            log.error(
                "columns and oracle differ: %s", difference, extra={"action": "drift", "account": sample.key}
            )
            self._changed.add(sample.key)

    # --- Decisions

    def _decide(self, symbols: Iterable[str]) -> None:
        """Hand over accounts at a level they were not told of, and orders whose price may have come."""
        now, count = time.monotonic(), len(self.book.keys)
        states = self.book.slots.state[:count]
        at_level = np.flatnonzero((states != STALE) & (states != OK)).tolist()
        counts = self.book.slots.count
        wanted = {s for s in at_level if self._told.get(s) == "ok" or (states[s] == STOP and counts[s] > 0)}
        wanted |= {slot for slot, told in self._told.items() if told != "ok" and states[slot] == OK}
        keys = {key for slot in wanted if (key := self.book.keys[slot]) is not None}
        orders = self._due(symbols)
        for key in [key for key, until in self._busy.items() if until < now]:
            del self._busy[key]
        margin = sorted(keys - self._busy.keys())
        fills = sorted(orders - keys - self._busy.keys())
        self._busy |= dict.fromkeys([*margin, *fills], now + 60)
        for start in range(0, len(margin), TOGETHER):
            self._start(self._act(self._store.enforce, margin[start : start + TOGETHER]))
        for start in range(0, len(fills), TOGETHER):
            self._start(self._act(self._store.trigger, fills[start : start + TOGETHER]))

    def _due(self, symbols: Iterable[str]) -> set[str]:
        found: set[str] = set()
        prices = self.book.prices
        for symbol in symbols:
            row = prices.index.get(symbol)
            if row is not None and prices.known(row) and prices.is_fresh(row):
                found |= self.triggers.due(symbol, *prices.sides(row))
        return found

    async def _act(self, work: Any, keys: list[str]) -> None:
        """Decide in a thread; every account is read anew when it is through."""
        pause = RETRY_S
        try:
            decided = await asyncio.get_running_loop().run_in_executor(self._decisions, job, work, keys)
        except Exception:  # the accounts stay due, and are decided again after a pause
            decided, pause = {}, FAILED_S
            log.exception("decisions failed, trying again", extra={"action": "decide", "accounts": len(keys)})
        again = time.monotonic() + pause
        for key in keys:
            self._busy[key] = again
            if decided.get(key):
                self.stats["decisions"] += decided[key]
                self._changed.add(key)

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a side task failed: %s", error, extra={"action": "side_task"})

    def statistics(self) -> dict[str, Any]:
        held = {"accounts": len(self.book), "positions": int((self.book.rows.units != 0).sum())}
        return {**dict.fromkeys(_COUNTS, 0), **self.stats, **held}

    async def close(self) -> None:
        """Finish what is under way, then end the threads."""
        under_way: set[asyncio.Task[Any]] = {*self._tasks, *filter(None, [self._reloading])}
        if under_way:
            await asyncio.wait(under_way, timeout=5)
        for pool in (self._reads, self._decisions):
            pool.shutdown(wait=False)
