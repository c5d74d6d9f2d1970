"""From a changed price to the accounts that hold the symbol: the dirty accounts that the engine takes each
cycle.

Messages are only put into a set; a turn later the symbols in it are looked up together. Who holds a symbol
is remembered for a second, and then its number of holders is asked for before the whole set is read again.
A dirty symbol becomes dirty accounts when they are taken, so that a symbol held by a hundred thousand costs
no more per tick than any other.
"""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from stocksblitz.market.core.symbols import SYMBOL_PATTERN
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.subscriber import Subscriber

log = logging.getLogger(__name__)

TURN_S = 0.005
"""Pause between turns: what arrives meanwhile is looked up once."""
CHECKED_S = 1.0
READ_S = 30.0
"""A set that somebody changed without changing its size is noticed after this long."""
BATCH = 500
_SYMBOL = re.compile(SYMBOL_PATTERN)


@dataclass
class _Holders:
    """Accounts that hold one symbol, by user type, as Redis has them (``sizes``) and as are ours
    (``members``).
    """

    members: dict[str, set[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    checked: float = -READ_S
    read: float = -READ_S


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
        self._redis = redis
        self._names = names
        self.user_types = tuple(user_types)
        self._bound = bound
        self._mine = mine
        self._bus = Subscriber(self._on_message, self._on_connect)
        self._arrived: set[bytes] = set()
        self._changed: set[str] = set()
        self._dirty_symbols: dict[str, set[str]] = {kind: set() for kind in self.user_types}
        self._dirty_users: dict[str, set[str]] = {kind: set() for kind in self.user_types}
        self._overflowed: set[str] = set()
        self._dirty_users_lock = threading.Lock()
        self._holders: dict[str, _Holders] = {}
        self._stats: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._started = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._channels: dict[str, Callable[[bytes], None]] = {names.price_updates: self._on_price}

    def also(self, channel: str, handle: Callable[[bytes], None]) -> None:
        """Hear another channel over the same connection. Before `start_listener`."""
        self._channels[channel] = handle

    async def start_listener(self) -> None:
        self._started = time.monotonic()
        await self._bus.start()
        for channel in self._channels:
            await self._bus.subscribe(channel)
        self._task = asyncio.create_task(self._listen_loop(), name="portfolio-listener")

    async def stop_listener(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._bus.close()

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
        """After any time without a connection: whatever is held may have moved."""
        self._stats["connects"] += 1
        await self._everything()

    async def _everything(self) -> None:
        prefix = self._names.holders("", "").removesuffix("::")
        found = self._redis.scan_iter(match=f"{prefix}:*", count=1000)
        held = {
            name.decode(errors="replace").removeprefix(f"{prefix}:").rpartition(":")[0]
            async for name in found
        }
        for holders in self._holders.values():
            holders.checked = holders.read = -READ_S
        self._arrived |= {symbol.encode() for symbol in held | set(self._holders)}
        self._wake.set()

    async def _listen_loop(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            arrived, self._arrived = self._arrived, set()
            try:
                await self._collect(arrived)
                failures = 0
            except (RedisError, OSError) as error:
                self._stats["errors"] += 1
                if not failures:
                    log.warning("holders cannot be looked up: %s", error, extra={"action": "lookup_failed"})
                failures += 1
                self._arrived |= arrived
                self._wake.set()
            await asyncio.sleep(TURN_S if not failures else min(1.0, TURN_S * 2**failures))

    async def news(self, patience: float) -> None:
        """Wait until some price has changed since this was last asked, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), patience)
        self._news.clear()

    async def _collect(self, arrived: set[bytes]) -> None:
        symbols = self._valid(arrived)
        self._stats["symbols_looked_up"] += len(symbols)
        with self._dirty_users_lock:
            self._changed |= symbols
        await self._refresh(symbols)
        self._mark(symbols)
        self._news.set()

    def _valid(self, arrived: set[bytes]) -> set[str]:
        symbols = {raw.decode(errors="replace") for raw in arrived}
        good = {symbol for symbol in symbols if symbol in self._holders or _SYMBOL.fullmatch(symbol)}
        if len(good) != len(symbols):
            self._stats["errors"] += len(symbols) - len(good)
            log.debug("not symbols: %s", list(symbols - good)[:3], extra={"action": "bad_symbol"})
        return good

    # --- Holders

    async def _refresh(self, symbols: set[str]) -> None:
        """Have the holders of these symbols, no older than a second."""
        now = time.monotonic()
        read, check = [], []
        for symbol in symbols:
            holders = self._holders.setdefault(symbol, _Holders())
            if now - holders.read > READ_S:
                read.append(symbol)
            elif now - holders.checked > CHECKED_S:
                check.append(symbol)
        read += await self._grown(check)
        await self._fetch(read)

    async def _grown(self, symbols: list[str]) -> list[str]:
        """Those whose number of holders is not what it was."""
        changed = []
        for start in range(0, len(symbols), BATCH):
            batch = symbols[start : start + BATCH]
            sizes = await self._ask("scard", batch)
            for symbol, found in zip(batch, sizes, strict=True):
                holders = self._holders[symbol]
                holders.checked = time.monotonic()
                if found != holders.sizes:
                    changed.append(symbol)
        return changed

    async def _fetch(self, symbols: list[str]) -> None:
        for start in range(0, len(symbols), BATCH):
            batch = symbols[start : start + BATCH]
            for symbol, found in zip(batch, await self._fetch_symbol_holders(batch), strict=True):
                holders = self._holders[symbol]
                holders.sizes = {kind: len(members) for kind, members in found.items()}
                holders.members = {kind: self._ours(members) for kind, members in found.items()}
                holders.checked = holders.read = time.monotonic()
            self._mark(set(batch))  # whoever is new may have missed a price

    async def _fetch_symbol_holders(self, symbols: list[str]) -> list[dict[str, Any]]:
        return await self._ask("smembers", symbols)

    async def _ask(self, command: str, symbols: list[str]) -> list[dict[str, Any]]:
        """One command for every (symbol, type); an answer that is an error is counted and taken for
        nothing.
        """
        pipe = self._redis.pipeline(transaction=False)
        for symbol in symbols:
            for kind in self.user_types:
                getattr(pipe, command)(self._names.holders(symbol, kind))
        answers = await pipe.execute(raise_on_error=False)
        self._stats["lookups"] += len(answers)
        failed = [each for each in answers if isinstance(each, Exception)]
        if failed:
            self._stats["errors"] += len(failed)
            log.warning("lookup of holders failed: %s", failed[0], extra={"action": "lookup_failed"})
        rows = iter(answers)
        empty: Any = set() if command == "smembers" else 0
        return [
            {kind: empty if isinstance(row := next(rows), Exception) else row for kind in self.user_types}
            for _ in symbols
        ]

    def _ours(self, members: Iterable[bytes]) -> set[str]:
        return {key for raw in members if self._mine(key := raw.decode(errors="replace"))}

    def forget(self) -> None:
        """What is ours has changed: look every symbol up again."""
        for holders in self._holders.values():
            holders.read = -READ_S

    # --- Dirty accounts

    def _add_to_dirty_users(self, user_ids: Iterable[str], user_type: str) -> None:
        """With the lock held. At the bound the list is given up: everything of the type is dirty."""
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

    def _mark(self, symbols: set[str]) -> None:
        with self._dirty_users_lock:
            for waiting in self._dirty_symbols.values():
                waiting |= symbols

    def _expand(self, user_type: str) -> None:
        """Dirty symbols to dirty accounts; with the lock held."""
        waiting, self._dirty_symbols[user_type] = self._dirty_symbols[user_type], set()
        for symbol in waiting:
            holders = self._holders.get(symbol)
            if holders:
                self._add_to_dirty_users(holders.members.get(user_type, ()), user_type)

    def get_dirty_users(self, user_type: str) -> set[str]:
        """The accounts that wait, without taking them."""
        with self._dirty_users_lock:
            self._expand(user_type)
            return set(self._dirty_users[user_type])

    def get_and_clear_dirty_users(self, user_type: str) -> set[str]:
        """Take the accounts that wait; what gets dirty from now on is in the next round."""
        with self._dirty_users_lock:
            self._expand(user_type)
            taken, self._dirty_users[user_type] = self._dirty_users[user_type], set()
            return taken

    def take_overflow(self, user_type: str) -> bool:
        """Whether the list was given up since it was last asked; then everything of the type is dirty."""
        with self._dirty_users_lock:
            overflowed = user_type in self._overflowed
            self._overflowed.discard(user_type)
            return overflowed

    def take_symbols(self) -> set[str]:
        """The symbols whose price changed since they were last taken."""
        with self._dirty_users_lock:
            taken, self._changed = self._changed, set()
            return taken

    def get_statistics(self) -> dict[str, Any]:
        stats = {name: self._stats[name] for name in (
            "symbols_processed", "symbols_looked_up", "users_affected_total", "lookups", "errors",
            "overflows",
        )}  # fmt: skip
        dirty = {f"dirty_users_{kind}": len(self.get_dirty_users(kind)) for kind in self.user_types}
        return {
            **stats,
            **dirty,
            "reconnects": max(0, self._stats["connects"] - 1),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "is_running": self._task is not None and not self._task.done(),
        }
