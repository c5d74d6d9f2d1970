"""From a changed price to the accounts that hold the symbol: the dirty accounts that the engine takes each cycle.

Messages are only put into a set; a few milliseconds later the holders of the symbols in it are looked up together. A
dirty symbol becomes dirty accounts when they are taken, so that a symbol held by a hundred thousand costs no more per
tick than any other.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from portfolio.worker.holder_cache import HolderCache
from stocksblitz.market.core.announcements import decode_price_update
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.subscriber import Subscriber

log = logging.getLogger(__name__)

COLLECT_S = 0.005
"""Pause between look-ups: what arrives meanwhile is looked up once."""
MAX_RETRY_S = 1.0
_COUNTED = (
    "symbols_processed", "symbols_looked_up", "users_affected_total", "lookups", "errors", "overflows",
)  # fmt: skip


class PortfolioCalculatorListener:
    """Collects dirty accounts per user type. ``mine`` says which accounts this process works on."""

    def __init__(
        self,
        redis: Any,
        names: Keys,
        user_types: Iterable[str],
        *,
        bound: int,
        mine: Callable[[str], bool] = lambda account: True,
    ) -> None:
        self.user_types = tuple(user_types)
        self._bound = bound
        self._stats: Counter[str] = Counter()
        self._holders = HolderCache(redis, names, self.user_types, self._stats, mine)
        self._subscriber = Subscriber(self._on_message, self._on_connect)
        self._channels: dict[str, Callable[[bytes], None]] = {names.price_updates: self._on_price}
        self._bad_messages = BadDataLog("market_price_updates")
        self._arrived: set[bytes] = set()
        self._changed: set[str] = set()
        self._dirty_symbols: dict[str, set[str]] = {kind: set() for kind in self.user_types}
        self._dirty_users: dict[str, set[str]] = {kind: set() for kind in self.user_types}
        self._overflowed: set[str] = set()
        self._dirty_users_lock = threading.Lock()
        self._wake = asyncio.Event()
        self._collected = asyncio.Event()
        self._started = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def also(self, channel: str, handle: Callable[[bytes], None]) -> None:
        """Hear another channel over the same connection. Call this before `start_listener`."""
        self._channels[channel] = handle

    async def start_listener(self) -> None:
        self._started = time.monotonic()
        await self._subscriber.start()
        for channel in self._channels:
            await self._subscriber.subscribe(channel)
        self._task = asyncio.create_task(self._listen_loop(), name="portfolio-listener")

    async def stop_listener(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._subscriber.close()

    # --- Messages

    def _on_message(self, channel: str, data: bytes) -> None:
        handle = self._channels.get(channel)
        if handle:
            handle(data)

    def _on_price(self, data: bytes) -> None:
        self._stats["symbols_processed"] += 1
        self._arrived.add(data)
        self._wake.set()

    async def _on_connect(self) -> None:
        """Look at everything held: its price may have moved while there was no connection."""
        self._stats["connects"] += 1
        self._holders.forget()
        self._arrived |= {symbol.encode() for symbol in await self._holders.held_symbols()}
        self._wake.set()

    async def _listen_loop(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            failures = 0 if await self._collect_arrived(failures) else failures + 1
            await asyncio.sleep(min(MAX_RETRY_S, COLLECT_S * 2**failures))

    async def _collect_arrived(self, failures: int) -> bool:
        """Look up what arrived; return False, and keep it for later, while Redis is away."""
        arrived, self._arrived = self._arrived, set()
        try:
            await self._collect(arrived)
            return True
        except (RedisError, OSError) as error:
            self._stats["errors"] += 1
            if not failures:
                log.warning("holders cannot be looked up: %s", error, extra={"action": "lookup_failed"})
            self._arrived |= arrived
            self._wake.set()
            return False

    async def _collect(self, arrived: set[bytes]) -> None:
        symbols = self._decode(arrived)
        self._stats["symbols_looked_up"] += len(symbols)
        with self._dirty_users_lock:
            self._changed |= symbols
        await self._holders.refresh(symbols)
        with self._dirty_users_lock:
            for waiting in self._dirty_symbols.values():
                waiting |= symbols
        self._collected.set()

    def _decode(self, arrived: set[bytes]) -> set[str]:
        """Return the symbols that the messages name; a message that names none is counted and skipped."""
        symbols = set()
        for data in arrived:
            try:
                symbols.add(decode_price_update(data))
            except BadData as error:
                self._stats["errors"] += 1
                self._bad_messages.report("messages", error)
        return symbols

    async def wait_for_price(self, timeout_s: float) -> None:
        """Wait until some price has changed since this was last called, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._collected.wait(), timeout_s)
        self._collected.clear()

    def forget_holders(self) -> None:
        """Have every symbol looked up again: which accounts are ours has changed."""
        self._holders.forget()

    # --- Dirty accounts

    def _add_to_dirty_users(self, user_ids: Iterable[str], user_type: str) -> None:
        """Add accounts, with the lock held. At the bound the list is given up: everything of the type is dirty."""
        if user_type in self._overflowed:
            return
        dirty = self._dirty_users[user_type]
        before = len(dirty)
        dirty.update(user_ids)
        self._stats["users_affected_total"] += len(dirty) - before
        if len(dirty) > self._bound:
            self._stats["overflows"] += 1
            self._overflowed.add(user_type)
            dirty.clear()

    def _expand_dirty_symbols(self, user_type: str) -> None:
        """Turn dirty symbols into dirty accounts, with the lock held."""
        waiting, self._dirty_symbols[user_type] = self._dirty_symbols[user_type], set()
        for symbol in waiting:
            self._add_to_dirty_users(self._holders.members(symbol, user_type), user_type)

    def get_dirty_users(self, user_type: str) -> set[str]:
        """Return the accounts that wait, without taking them."""
        with self._dirty_users_lock:
            self._expand_dirty_symbols(user_type)
            return set(self._dirty_users[user_type])

    def get_and_clear_dirty_users(self, user_type: str) -> set[str]:
        """Take the accounts that wait; what gets dirty from now on is in the next round."""
        with self._dirty_users_lock:
            self._expand_dirty_symbols(user_type)
            taken, self._dirty_users[user_type] = self._dirty_users[user_type], set()
            return taken

    def take_overflow(self, user_type: str) -> bool:
        """Return whether the list was given up since this was last called; then everything of the type is dirty."""
        with self._dirty_users_lock:
            overflowed = user_type in self._overflowed
            self._overflowed.discard(user_type)
            return overflowed

    def take_symbols(self) -> set[str]:
        """Take the symbols whose price changed since this was last called."""
        with self._dirty_users_lock:
            taken, self._changed = self._changed, set()
            return taken

    def get_statistics(self) -> dict[str, Any]:
        """Return what was counted since the start, and how many accounts are dirty now."""
        dirty = {f"dirty_users_{kind}": len(self.get_dirty_users(kind)) for kind in self.user_types}
        return {
            **{name: self._stats[name] for name in _COUNTED},
            **dirty,
            "reconnects": max(0, self._stats["connects"] - 1),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "is_running": self._task is not None and not self._task.done(),
        }
