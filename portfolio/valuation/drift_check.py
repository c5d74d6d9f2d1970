"""A sample of what the columns say is reckoned again by the oracle; any difference is a defect and an alarm
(pure).
"""

import random
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from portfolio.margin.fx import Graph
from portfolio.margin.margin import value
from portfolio.margin.types import Account, Market, Quote
from portfolio.valuation.book import Book

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Taken:
    """An account's numbers in the columns, and the prices that they come from, at one moment."""

    key: str
    revision: int
    equity: float
    used: float
    largest: float
    quotes: dict[str, Quote]
    graph: Graph


class Sample:
    """One in so many accounts, by chance."""

    def __init__(self, one_in: int = 100) -> None:
        self.one_in = one_in
        self._random = random.Random()

    def wanted(self, count: int) -> bool:
        return self.one_in > 0 and self._random.random() < count / self.one_in

    def pick(self, count: int) -> int:
        return self._random.randrange(count)

    def take(self, book: Book, key: str, revision: int) -> Taken:
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
        return Taken(
            key, revision, equity, float(book.slots.used[slot]), largest, quotes, book.currencies.graph
        )


def difference(taken: Taken, account: Account) -> str | None:
    """What differs between the columns and the oracle, in words; None when nothing does."""
    wanted = value(account, Market(taken.quotes, taken.graph))
    scale = taken.largest + abs(float(account.balance)) + 1
    for name, got, exact in (
        ("equity", taken.equity, wanted.equity),
        ("used margin", taken.used, wanted.used),
    ):
        if exact is None:
            if got == got:
                return f"{name} {got} where the oracle knows none"
        elif not abs(got - float(exact)) <= TOLERANCE * max(scale, abs(float(exact))):
            return f"{name} {got} where the oracle has {exact}"
    return None
