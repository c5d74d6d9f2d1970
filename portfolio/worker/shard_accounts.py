"""The accounts of the shards whose leases are held, read from the database into the book.

The database is read in a thread of its own, beside the engine's cycle: while it is slow or away, prices are followed
with what was read last.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from django.conf import settings
from django.db import DatabaseError

from portfolio.valuation.book import Book
from portfolio.valuation.column_table import Ints
from portfolio.valuation.snapshot_json import static_of
from portfolio.worker.database import LoadedAccount, Store, run_and_release_connection
from portfolio.worker.decisions import Decisions
from portfolio.worker.market_reader import MarketReader
from portfolio.worker.snapshot_outbox import Outbox
from stocksblitz.workers.leases import ShardLeases, shard_of

log = logging.getLogger(__name__)

RELOAD_WAIT_S = 0.1
"""A cycle waits no longer for accounts that are being read again: a slow database delays no price."""
FAILED_RELOAD_S = 2.0
SHARDS_AT_ONCE = 4
_NONE: Ints = np.empty(0, np.int64)


class ShardAccounts:
    """Keeps book, outbox and decisions at the accounts of this process, as the database has them."""

    def __init__(
        self,
        book: Book,
        leases: ShardLeases,
        store: Store,
        market: MarketReader,
        outbox: Outbox,
        decisions: Decisions,
    ) -> None:
        self._book = book
        self._leases = leases
        self._store = store
        self._market = market
        self._outbox = outbox
        self._decisions = decisions
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="portfolio-read")
        self.revision: dict[str, int] = {}
        self._unloaded_shards: set[int] = set()
        self._changed: set[str] = set()
        self._reloading: asyncio.Task[Ints] | None = None
        self._reload_after = 0.0

    async def ask(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the store in the reading thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, run_and_release_connection, work, *arguments)

    # --- Shards

    async def renew_leases(self) -> bool:
        """Renew the leases and drop the accounts of lost shards; return whether there are new shards to load."""
        fresh = await self._leases.step()
        self._unloaded_shards = (self._unloaded_shards | fresh) & self._leases.held.keys()
        self.drop([key for key in self._book.index if self._leases.fence(key) is None])
        return bool(fresh)

    async def load(self) -> None:
        """Take in the accounts of new shards, a few shards at a time: leases must be renewed in between."""
        while self._unloaded_shards:
            shards = set(sorted(self._unloaded_shards)[:SHARDS_AT_ONCE])
            found = await self.ask(self._store.of_shards, shards)
            wanted = {key: loaded for key, loaded in found.items() if loaded.shard in self._unloaded_shards}
            await self._take_in_with_prices(wanted)
            self._unloaded_shards -= shards

    async def _take_in_with_prices(self, found: dict[str, LoadedAccount]) -> None:
        """Take in accounts, and the prices of symbols and pairs that are new with them."""
        known = set(self._book.prices.names)
        self.take_in(found)
        await self._market.read(set(self._book.prices.names) - known)

    def take_in(self, found: dict[str, LoadedAccount]) -> None:
        """Put accounts into the book, as far as their shards are still ours."""
        fences = {key: fence for key in found if (fence := self._leases.fence(key)) is not None}
        if not fences:
            return
        slots = self._book.put({key: found[key].account for key in fences})
        for slot, (key, fence) in zip(slots.tolist(), fences.items(), strict=True):
            loaded = found[key]
            static = static_of(key, loaded.account, settings.FEED.name)
            self._outbox.enter(slot, static, fence=fence, shard=loaded.shard)
            self._decisions.enter(slot, key, loaded.state, loaded.account.orders)
            self.revision[key] = loaded.revision

    def drop(self, keys: Iterable[str]) -> None:
        """Take accounts out of the book."""
        for key in keys:
            slot = self._book.index[key]
            self._outbox.forget(slot)
            self._decisions.leave(slot, key)
            self.revision.pop(key, None)
            self._book.drop([key])

    # --- Changes

    def on_change(self, data: bytes) -> None:
        """Note an announcement that an account was changed in the database."""
        self.mark_changed(data.decode(errors="replace"))

    def mark_changed(self, key: str) -> None:
        """Have the account read again, if it is ours."""
        if self._leases.fence(key) is not None:
            self._changed.add(key)

    async def compare(self) -> None:
        """Read again what changed in the database without an announcement: accounts, groups, instruments, pairs."""
        overview = await self.ask(self._store.overview, set(self._leases.held))
        if overview.graph.symbols != self._book.currencies.graph.symbols:
            self._book.currencies.use(overview.graph)
        self.drop([key for key in self._book.index if key not in overview.revisions])
        self._changed |= overview.affected | self._with_other_revision(overview.revisions)
        await self._reload()

    def _with_other_revision(self, revisions: dict[str, int]) -> set[str]:
        different = {key for key, revision in revisions.items() if self.revision.get(key) != revision}
        return {key for key in different if shard_of(key) not in self._unloaded_shards}

    async def _reload(self) -> Ints:
        """Read the changed accounts again; return their slots."""
        changed, self._changed = self._changed, set()
        if not changed:
            return _NONE
        try:
            found = await self.ask(self._store.of_keys, changed)
        except (DatabaseError, OSError):
            self._changed |= changed
            raise
        await self._take_in_with_prices(found)
        self.drop(_missing(changed, found, self._book))
        return np.array([self._book.index[key] for key in found if key in self._book.index], np.int64)

    async def reloaded(self) -> Ints:
        """Return the slots of accounts that were read again; what is still being read comes with a later cycle."""
        if self._reloading is None and self._changed and time.monotonic() > self._reload_after:
            self._reloading = asyncio.ensure_future(self._reload())
        if self._reloading is None:
            return _NONE
        done, _ = await asyncio.wait({self._reloading}, timeout=RELOAD_WAIT_S)
        if not done:
            return _NONE
        task, self._reloading = self._reloading, None
        try:
            return task.result()
        except (DatabaseError, OSError):  # the sweep fails too, and logs it
            self._reload_after = time.monotonic() + FAILED_RELOAD_S
            return _NONE

    async def close(self, timeout_s: float) -> None:
        """Finish what is being read, then end the thread."""
        if self._reloading is not None:
            await asyncio.wait({self._reloading}, timeout=timeout_s)
        self._thread.shutdown(wait=False)


def _missing(changed: Collection[str], found: Collection[str], book: Book) -> list[str]:
    return [key for key in changed if key not in found and key in book.index]
