"""Compare a sample of the accounts in columns with the Decimal oracle; a difference is a defect and an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from portfolio.margin.fx import Graph
from portfolio.margin.margin import value
from portfolio.margin.types import MarginAccount, MarketPrices, Quote
from portfolio.valuation.book import Book

if TYPE_CHECKING:
    from random import Random

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class DriftSample:
    """An account's numbers in the columns, and the prices that they come from, at one moment."""

    key: str
    revision: int
    equity: float
    used: float
    largest: float
    quotes: dict[str, Quote]
    graph: Graph


class Sampler:
    """Choose one in ``one_in`` revalued accounts at random; 0 chooses none."""

    def __init__(self, one_in: int, random: Random) -> None:
        self.one_in = one_in
        self._random = random

    def wanted(self, count: int) -> bool:
        return self.one_in > 0 and self._random.random() < count / self.one_in

    def pick(self, count: int) -> int:
        return self._random.randrange(count)

    def take(self, book: Book, key: str, revision: int) -> DriftSample:
        slot = book.index[key]
        prices = book.prices
        quotes = {}
        at, _ = book.rows_of(np.array([slot]))
        names = {prices.names[int(row)] for row in book.rows.symbol[at]} | book.currencies.graph.symbols
        for name in names:
            row = prices.index.get(name)
            if row is not None and prices.known(row):
                bid, ask = prices.sides(row)
                quotes[name] = Quote(Decimal(repr(bid)), Decimal(repr(ask)), 0, prices.is_fresh(row))
        largest = float(np.abs(book.rows.pnl[at]).sum()) if len(at) else 0.0
        equity = float(book.equity(np.array([slot]))[0])
        return DriftSample(
            key, revision, equity, float(book.slots.used[slot]), largest, quotes, book.currencies.graph
        )


def difference(sample: DriftSample, account: MarginAccount) -> str | None:
    """Describe the first difference between the columns and the oracle; None when they agree."""
    wanted = value(account, MarketPrices(sample.quotes, sample.graph))
    scale = sample.largest + abs(float(account.balance)) + 1
    for name, got, exact in (
        ("equity", sample.equity, wanted.equity),
        ("used margin", sample.used, wanted.used),
    ):
        if exact is None:
            if got == got:
                return f"{name} {got} where the oracle knows none"
        elif not abs(got - float(exact)) <= TOLERANCE * max(scale, abs(float(exact))):
            return f"{name} {got} where the oracle has {exact}"
    return None
