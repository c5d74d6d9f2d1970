"""Holders of symbols, remembered for a second: the public sets ``symbol_holders:{symbol}:{type}`` read in batches."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from portfolio.services.symbol_holders import bad_holders, decode_holders, holders_prefix
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.keys import Keys

CHECK_EVERY_S = 1.0
READ_EVERY_S = 30.0
"""A set that somebody changed without changing its size is noticed after this long."""
BATCH = 500
MAX_SYMBOLS = 100_000
"""Symbols that nobody holds are forgotten beyond this: their names may be hostile."""


@dataclass(slots=True)
class _Entry:
    """Accounts that hold one symbol, by user type: how many Redis names, and which of them are ours."""

    sizes: dict[str, int] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    checked_at: float = -READ_EVERY_S
    read_at: float = -READ_EVERY_S


class HolderCache:
    """Accounts of this process that hold a symbol. ``mine`` says which accounts those are."""

    def __init__(
        self,
        redis: Any,
        names: Keys,
        user_types: tuple[str, ...],
        stats: Counter[str],
        mine: Callable[[str], bool],
    ) -> None:
        self._redis = redis
        self._names = names
        self._user_types = user_types
        self._stats = stats
        self._mine = mine
        self._entries: dict[str, _Entry] = {}

    def members(self, symbol: str, user_type: str) -> set[str]:
        """Return our accounts of a type that hold the symbol."""
        entry = self._entries.get(symbol)
        return entry.members.get(user_type, set()) if entry else set()

    def forget(self) -> None:
        """Have every set read again before it is used: which accounts are ours has changed, or a message was lost."""
        for entry in self._entries.values():
            entry.checked_at = entry.read_at = -READ_EVERY_S

    async def held_symbols(self) -> set[str]:
        """Return the symbols of all sets in Redis, and those that were asked for before."""
        prefix = holders_prefix(self._names)
        found = set(self._entries)
        async for name in self._redis.scan_iter(match=f"{prefix}*", count=1000):
            found.add(name.decode(errors="replace").removeprefix(prefix).rpartition(":")[0])
        return found

    async def refresh(self, symbols: Iterable[str]) -> None:
        """Have the holders of these symbols, no older than a second."""
        now = time.monotonic()
        self._forget_unheld()
        read, check = [], []
        for symbol in symbols:
            entry = self._entries.setdefault(symbol, _Entry())
            if now - entry.read_at > READ_EVERY_S:
                read.append(symbol)
            elif now - entry.checked_at > CHECK_EVERY_S:
                check.append(symbol)
        await self._read([*read, *await self._with_other_sizes(check)])

    def _forget_unheld(self) -> None:
        if len(self._entries) > MAX_SYMBOLS:
            self._entries = {s: entry for s, entry in self._entries.items() if any(entry.members.values())}

    async def _with_other_sizes(self, symbols: list[str]) -> list[str]:
        """Return the symbols whose number of holders is not what it was."""
        changed = []
        for batch in batched(symbols, BATCH):
            for symbol, answers in zip(batch, await self._ask("scard", batch), strict=True):
                entry = self._entries[symbol]
                entry.checked_at = time.monotonic()
                sizes = {kind: size if isinstance(size, int) else 0 for kind, size in answers.items()}
                if sizes != entry.sizes:
                    changed.append(symbol)
        return changed

    async def _read(self, symbols: list[str]) -> None:
        for batch in batched(symbols, BATCH):
            for symbol, answers in zip(batch, await self._ask("smembers", batch), strict=True):
                entry = self._entries[symbol]
                entry.sizes = {kind: 0 if isinstance(a, Exception) else len(a) for kind, a in answers.items()}
                entry.members = {kind: self._decode(symbol, kind, a) for kind, a in answers.items()}
                entry.checked_at = entry.read_at = time.monotonic()

    def _decode(self, symbol: str, user_type: str, answer: Any) -> set[str]:
        """Return our accounts among the members; those that are no accounts of the type are counted and skipped."""
        members, bad = decode_holders(answer, user_type)
        name = self._names.holders(symbol, user_type)
        bad_holders.record_all(name, bad)
        self._stats["errors"] += len(bad)
        return set(filter(self._mine, members))

    async def _ask(self, command: str, symbols: Iterable[str]) -> list[dict[str, Any]]:
        """Run one command for every symbol and user type; the answer of a key of another type is its error."""
        pipe = self._redis.pipeline(transaction=False)
        for symbol in symbols:
            for kind in self._user_types:
                getattr(pipe, command)(self._names.holders(symbol, kind))
        answers = iter(await each_answer(pipe))
        rows = [{kind: next(answers) for kind in self._user_types} for _ in symbols]
        self._stats["lookups"] += len(rows) * len(self._user_types)
        return rows
