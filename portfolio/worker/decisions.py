"""Which accounts want a margin decision or an order executed, handed to threads that ask the database.

The columns only name candidates. Whatever must not be done twice is decided in the database, under the account's lock.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from portfolio.margin import levels
from portfolio.margin.types import Holding
from portfolio.valuation.book import CALL, OK, STOP, Book
from portfolio.valuation.column_table import Table
from portfolio.valuation.order_triggers import Triggers
from portfolio.worker.database import Store, run_and_release_connection
from portfolio.worker.side_tasks import SideTasks

log = logging.getLogger(__name__)

RETRY_S = 0.2
"""An account about which nothing was decided is looked at again after this long: its price may be back by then."""
FAILED_RETRY_S = 2.0
DECIDING_S = 60.0
"""An account is not handed over again for this long while a thread works on it."""
BATCH = 20
"""Accounts that one thread decides about before others get a turn."""
THREADS = 2


class Decisions:
    """Decisions of one engine. ``on_decided`` is called with each account about which something was decided."""

    def __init__(
        self, book: Book, store: Store, stats: Counter[str], on_decided: Callable[[str], None]
    ) -> None:
        self._book = book
        self._store = store
        self._stats = stats
        self._on_decided = on_decided
        self._triggers = Triggers()
        self._notified = Table({"at_level": np.bool_})
        """Whether the owner was last notified of a margin level: the account's state in the database is not "ok"."""
        self._busy_until: dict[str, float] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="portfolio-decide")
        self._tasks = SideTasks()

    def enter(self, slot: int, key: str, last_notified_state: str, orders: Sequence[Holding]) -> None:
        """Take in an account that is new or was changed."""
        self._notified.reserve(slot + 1)
        self._notified.at_level[slot] = last_notified_state != levels.OK
        self._triggers.put(key, orders)
        self._busy_until.pop(key, None)

    def leave(self, slot: int, key: str) -> None:
        """Forget an account that is no longer in the book."""
        self._notified.at_level[slot] = False
        self._triggers.drop(key)

    def is_busy(self, key: str) -> bool:
        """Return whether a decision about the account is under way."""
        return key in self._busy_until

    def start(self, symbols: Iterable[str]) -> None:
        """Hand over the accounts whose level wants a decision, and those with orders due at these symbols' prices."""
        now = time.monotonic()
        self._busy_until = {key: until for key, until in self._busy_until.items() if until >= now}
        margin = self.candidates() - self._busy_until.keys()
        orders = self._with_due_orders(symbols) - margin - self._busy_until.keys()
        self._busy_until |= dict.fromkeys(margin | orders, now + DECIDING_S)
        self._hand_over(self._store.enforce, margin)
        self._hand_over(self._store.trigger, orders)

    def candidates(self) -> set[str]:
        """Return the accounts whose owner must be notified of a level, or of its end, and those to stop out."""
        count = len(self._book.keys)
        state, notified = self._book.slots.state[:count], self._notified.at_level[:count]
        reached = ((state == CALL) | (state == STOP)) & ~notified
        to_stop_out = (state == STOP) & (self._book.slots.count[:count] > 0)
        restored = (state == OK) & notified
        slots = np.flatnonzero(reached | to_stop_out | restored).tolist()
        return {key for slot in slots if (key := self._book.keys[slot]) is not None}

    def _with_due_orders(self, symbols: Iterable[str]) -> set[str]:
        found: set[str] = set()
        prices = self._book.prices
        for symbol in symbols:
            row = prices.index.get(symbol)
            if row is not None and prices.known(row) and prices.is_fresh(row):
                found |= self._triggers.due(symbol, *prices.sides(row))
        return found

    def _hand_over(self, decide: Callable[[list[str]], dict[str, int]], keys: Collection[str]) -> None:
        rows = sorted(keys)
        for start in range(0, len(rows), BATCH):
            self._tasks.start(self._decide(decide, rows[start : start + BATCH]))

    async def _decide(self, decide: Callable[[list[str]], dict[str, int]], keys: list[str]) -> None:
        """Decide in a thread; an account stays due, and is decided again after a pause, until it was read again."""
        loop: Any = asyncio.get_running_loop()
        pause = RETRY_S
        try:
            decided = await loop.run_in_executor(self._threads, run_and_release_connection, decide, keys)
        except Exception:  # one failed batch must not end the decisions on all other accounts
            decided, pause = {}, FAILED_RETRY_S
            log.exception("decisions failed, trying again", extra={"action": "decide", "accounts": len(keys)})
        again = time.monotonic() + pause
        for key in keys:
            self._busy_until[key] = again
            if decided.get(key):
                self._stats["decisions"] += decided[key]
                self._on_decided(key)

    async def close(self) -> None:
        """Finish what is under way, then end the threads."""
        await self._tasks.close()
        self._threads.shutdown(wait=False)
