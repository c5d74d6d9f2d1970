"""Prices and conversion rates as columns that positions point into (pure, float64).

Each symbol and each pair of currencies has three cells: bid, ask, middle. A position keeps the number of
the cell it is marked at and of those it is converted with, so that revaluing a million of them is a handful
of look-ups.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portfolio.margin.fx import Graph, Path, rate_along

BID, ASK, MID = 0, 1, 2
NEVER = np.iinfo(np.int64).max
"""The time of a price that nothing waits for: the minimum of times passes over it."""


class PriceTick(NamedTuple):
    """A price as read: ``ts`` in ms, ``fresh_until`` on the wall clock in ms."""

    bid: float
    ask: float
    ts: int
    fresh_until: int


def usable(bid: float, ask: float) -> bool:
    """Return whether accounts can be valued with a quote: two positive numbers that are not crossed."""
    return 0 < bid <= ask < math.inf


class Cells:
    """Named rows of three cells (bid, ask, middle): a value, NaN while unknown, whether it is fresh, and
    its time.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.values = np.full(3 * 64, np.nan)
        self.fresh = np.zeros(3 * 64, bool)
        self.ts: NDArray[np.int64] = np.full(3 * 64, NEVER)

    def number(self, name: str) -> int:
        """The row of a name; made when it is new."""
        row = self.index.get(name)
        if row is None:
            row = self.index[name] = len(self.names)
            self.names.append(name)
            if 3 * len(self.names) > len(self.values):
                self._grow(len(self.values))
        return row

    def _grow(self, more: int) -> None:
        self.values = np.concatenate([self.values, np.full(more, np.nan)])
        self.fresh = np.concatenate([self.fresh, np.zeros(more, bool)])
        self.ts = np.concatenate([self.ts, np.full(more, NEVER)])

    def set(self, row: int, sides: tuple[float, float, float], ts: int, *, fresh: bool) -> None:
        cells = slice(3 * row, 3 * row + 3)
        self.values[cells], self.ts[cells], self.fresh[cells] = sides, ts, fresh

    def clear(self, row: int) -> None:
        self.set(row, (np.nan, np.nan, np.nan), int(NEVER), fresh=False)

    def sides(self, row: int) -> tuple[float, float]:
        return float(self.values[3 * row]), float(self.values[3 * row + 1])

    def known(self, row: int) -> bool:
        return not math.isnan(self.values[3 * row])

    def is_fresh(self, row: int) -> bool:
        return bool(self.fresh[3 * row])

    def all_fresh(self) -> bool:
        return bool(self.fresh[: 3 * len(self.names)].all())

    def mask(self, rows: Iterable[int]) -> NDArray[np.bool_]:
        """Which cells belong to these rows."""
        mask = np.zeros(len(self.values), bool)
        for row in rows:
            mask[3 * row : 3 * row + 3] = True
        return mask


class Prices(Cells):
    """Every symbol's last usable quote; ``fresh_until`` tells when it turns stale. Row 0 is 1.0, for what
    has no price.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fresh_until: NDArray[np.int64] = np.zeros(64, np.int64)
        self.set(self.number(""), (1.0, 1.0, 1.0), int(NEVER), fresh=True)
        self.fresh_until[0] = NEVER

    def _grow(self, more: int) -> None:
        super()._grow(more)
        self.fresh_until = np.concatenate([self.fresh_until, np.zeros(more // 3, np.int64)])

    def put(self, symbol: str, tick: PriceTick | None, now: int) -> bool:
        """Take in a price (None or an unusable one: not known); returns whether anything about it changed."""
        row = self.number(symbol)
        if tick is None or not usable(tick.bid, tick.ask):
            changed = self.known(row)
            self.clear(row)
            return changed
        before = (*self.sides(row), self.is_fresh(row))
        fresh = now <= tick.fresh_until
        self.set(row, (tick.bid, tick.ask, (tick.bid + tick.ask) / 2), tick.ts, fresh=fresh)
        self.fresh_until[row] = tick.fresh_until
        return before != (tick.bid, tick.ask, fresh)

    def expiring(self, now: int) -> list[str]:
        """The symbols that are fresh here and past their time: look at them once more before they are
        called stale.
        """
        count = len(self.names)
        gone = np.flatnonzero(self.fresh[: 3 * count : 3] & (self.fresh_until[:count] < now))
        return [self.names[row] for row in gone]

    def expire(self, now: int) -> list[str]:
        """Mark what is past its time; returns the symbols that turned stale just now."""
        gone = self.expiring(now)
        self.fresh &= ~self.mask(self.index[symbol] for symbol in gone)
        return gone


class Currencies(Cells):
    """Rates of every (source, target) that some position needs, each along its chain of symbols."""

    def __init__(self, prices: Prices, graph: Graph) -> None:
        super().__init__()
        self._prices = prices
        self.graph = graph
        self.paths: list[Path | None] = []
        self.own: list[int] = []
        """The symbol (its row) that a pair simply inverts, else -1: such a conversion moves with that
        price.
        """
        self.pair("", "")

    def pair(self, source: str, target: str) -> int:
        """Return the row of a conversion; it is computed at once when it is new."""
        name = f"{source}/{target}"
        row = self.index.get(name)
        if row is None:
            row = self.number(name)
            self.paths.append(None)
            self.own.append(-1)
            self._compute(row)
        return row

    def _usable(self, symbol: str, *, fresh: bool) -> bool:
        row = self._prices.index.get(symbol)
        return row is not None and self._prices.known(row) and (not fresh or self._prices.is_fresh(row))

    def _path(self, source: str, target: str) -> Path | None:
        path = self.graph.path(source, target, lambda symbol: self._usable(symbol, fresh=True))
        if path is None:
            path = self.graph.path(source, target, lambda symbol: self._usable(symbol, fresh=False))
        return path

    def _compute(self, row: int) -> None:
        """Find the chain again (prices came or went) and its rate."""
        source, _, target = self.names[row].partition("/")
        path = self.paths[row] = self._path(source, target)
        self.own[row] = -1
        if path is None:
            self.clear(row)
            return
        rows = [self._prices.number(leg.symbol) for leg in path]
        if len(path) == 1 and path[0].inverse:
            self.own[row] = rows[0]
        sides = {leg.symbol: self._prices.sides(at) for leg, at in zip(path, rows, strict=True)}
        oldest = min((int(self._prices.ts[3 * at]) for at in rows), default=int(NEVER))
        self.set(row, rate_along(path, sides, 1.0), oldest, fresh=all(map(self._prices.is_fresh, rows)))

    def follow(self, changed: Iterable[str]) -> list[int]:
        """Compute the rates again after these symbols changed; return the rows whose rate or freshness did."""
        if not any(symbol in self.graph for symbol in changed):
            return []
        before = self._state()
        for row in range(len(self.names)):
            self._compute(row)
        return [row for row, (old, new) in enumerate(zip(before, self._state(), strict=True)) if old != new]

    def _state(self) -> list[tuple[bool, bytes]]:
        return [
            (self.is_fresh(row), self.values[3 * row : 3 * row + 3].tobytes())
            for row in range(len(self.names))
        ]

    def use(self, graph: Graph) -> None:
        """Another set of pairs, when instruments were added."""
        self.graph = graph
        for row in range(len(self.names)):
            self._compute(row)
