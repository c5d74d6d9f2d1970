"""Snapshots that wait to be written, and what was written of each account last."""

import asyncio
import time
from collections import Counter
from typing import NamedTuple

import numpy as np

from portfolio.valuation.book import Book
from portfolio.valuation.column_table import Flags, Ints, Table
from portfolio.valuation.snapshot_json import Static, bodies, stamped
from portfolio.worker.snapshot_writer import SnapshotWriter, WrittenSnapshot
from stocksblitz.workers.runtime import now_ms

MOST_WRITES = 10_000
"""Snapshots of one cycle; what is over it waits, and has its newest values when its turn comes."""
PIECE = 2_000
RESTAMP_MS = 1_000
"""A snapshot whose numbers stand is still written when its oldest price is younger by this much."""
RENEW_S = 100.0
"""In the mock realm snapshots end by themselves; one that stands is written again after this long."""

_LAST = {
    "shard": np.int64,
    "digest": np.int64,
    "oldest": np.int64,
    "at": np.float64,
    "pnl": np.float64,
    "state": np.int64,
}


class _Row(NamedTuple):
    slot: int
    written: WrittenSnapshot


class Outbox:
    """One entry per account however often it is queued; first come, first written."""

    def __init__(self, book: Book, writer: SnapshotWriter, stats: Counter[str]) -> None:
        self._book = book
        self._writer = writer
        self._stats = stats
        self._waiting: dict[int, None] = {}
        self._last = Table(_LAST)
        self._version = 0
        self.static: dict[int, Static] = {}
        self.fence: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, slot: int, static: Static, *, fence: int, shard: int) -> None:
        """An account that is new here, or was changed."""
        self._last.reserve(slot + 1)
        self.static[slot], self.fence[slot] = static, fence
        self._last.at[slot], self._last.shard[slot] = 0.0, shard
        self._waiting[slot] = None

    def forget(self, slot: int) -> None:
        self._waiting.pop(slot, None)
        self.static.pop(slot, None)
        self.fence.pop(slot, None)

    def queue(self, slots: Ints) -> None:
        """Only accounts that entered: one may have left while something else was waited for."""
        self._waiting.update({slot: None for slot in slots.tolist() if slot in self.static})

    def waiting(self) -> Ints:
        return np.fromiter(self._waiting, np.int64, len(self._waiting))

    def different(self, slots: Ints) -> Ints:
        """Those whose value is not the one written last, or which must be written again before they end."""
        s, last = self._book.slots, self._last
        same = (s.unrealized[slots] == last.pnl[slots]) & (s.state[slots] == last.state[slots])
        young = time.monotonic() - last.at[slots] < RENEW_S
        found: Ints = slots[~(same & young)]
        return found

    async def write(self, held: Flags) -> int:
        """Write what waits and has changed, as far as one cycle goes; returns how many were written.

        ``held[shard]`` says whether this process may still write the accounts of a shard. What it may not
        write at this moment waits: the lease comes back, or the account is taken out of the book. What fails
        waits again.
        """
        waiting = self.waiting()
        slots = waiting[held[self._last.shard[waiting]]][:MOST_WRITES]
        for slot in slots.tolist():
            del self._waiting[slot]
        under_way = []
        for start in range(0, len(slots), PIECE):  # Redis works on one piece while the next is being made
            part = slots[start : start + PIECE]
            under_way.append((part, asyncio.ensure_future(self._write(self._rows(part)))))
            await asyncio.sleep(0)
        results = await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        failed = [error for error in results if isinstance(error, BaseException)]
        for (part, _), result in zip(under_way, results, strict=True):
            if isinstance(result, BaseException):
                self._undo(part.tolist())
                self.queue(part)
        if failed:
            raise failed[0]
        return sum(result for result in results if isinstance(result, int))

    async def _write(self, rows: list[_Row]) -> int:
        announced, refused = await self._writer.write_all([row.written for row in rows])
        self._stats["snapshots_written"] += len(rows) - len(refused)
        self._stats["snapshots_refused"] += len(refused)
        self._stats["announced"] += announced
        self._undo([row.slot for row in rows if row.written.account in refused])
        return len(rows)

    def _undo(self, slots: list[int]) -> None:
        self._last.at[slots] = 0.0

    def _rows(self, slots: Ints) -> list[_Row]:
        """What is to be written: a snapshot that differs, or whose oldest price is much younger now."""
        ts, now = now_ms(), time.monotonic()
        self._version = max(self._version + 1, ts)
        made = bodies(self._book, slots, [self.static[slot] for slot in slots.tolist()])
        digests, oldest = np.array([hash(body) for body in made], np.int64), self._book.oldest(slots)
        last = self._last
        news = (last.at[slots] == 0) | (last.digest[slots] != digests)
        due = news | (oldest - last.oldest[slots] >= RESTAMP_MS) | (now - last.at[slots] > RENEW_S)
        chosen = slots[due]
        last.digest[chosen], last.oldest[chosen], last.at[chosen] = digests[due], oldest[due], now
        last.pnl[chosen], last.state[chosen] = (
            self._book.slots.unrealized[chosen],
            self._book.slots.state[chosen],
        )
        rows = []
        for index, is_news, price_ts in zip(
            np.flatnonzero(due).tolist(), news[due].tolist(), oldest[due].tolist(), strict=True
        ):
            slot = int(slots[index])
            fence = self.fence[slot]
            stamp = {"epoch": fence, "version": max(self._version, fence), "ts": ts, "oldest": price_ts}
            written = WrittenSnapshot(self._book.keys[slot] or "", stamped(made[index], **stamp), is_news)
            rows.append(_Row(slot, written))
        return rows
