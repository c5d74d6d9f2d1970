"""Which accounts want a decision: found in columns, whatever the number of accounts."""

from collections import Counter
from decimal import Decimal

import pytest

from portfolio.margin.fx import Graph
from portfolio.margin.types import BUY, Holding, MarginAccount, Rules, Terms
from portfolio.valuation.book import Book
from portfolio.valuation.price_columns import PriceTick
from portfolio.worker.database import Store
from portfolio.worker.decisions import Decisions

EUR = Terms("EURUSD", "USD", "EUR", Decimal(100_000), "forex")
HOLDING = Holding(1, EUR, BUY, Decimal(1), Decimal("1.1"), margin=Decimal(1100))


@pytest.fixture
def candidates():
    """Return the candidates among accounts given by (last notified state, balance) at a price of 1.1."""

    def find(**accounts):
        book = Book(Graph(()))
        decisions = Decisions(book, Store(), Counter(), lambda key: None)
        held = {
            key: MarginAccount(Rules("USD", leverage=Decimal(100)), Decimal(balance), [HOLDING])
            for key, (_, balance) in accounts.items()
        }
        for slot, (key, (state, _)) in zip(book.put(held).tolist(), accounts.items(), strict=True):
            decisions.enter(slot, key, state, ())
        book.tick({"EURUSD": PriceTick(1.1, 1.1, 1, 10)}, 5)
        book.revalue()
        return book, decisions

    return find


def test_levels_that_nobody_was_notified_of_and_their_ends(candidates):
    _, decisions = candidates(
        fine=("ok", 2000), called=("ok", 1000), notified=("margin_call", 1000), restored=("margin_call", 2000),
        stop=("ok", 500), stopped_before=("stop_out", 500),
    )  # fmt: skip
    assert decisions.candidates() == {"called", "restored", "stop", "stopped_before"}


def test_an_account_that_left_the_book_is_no_candidate(candidates):
    book, decisions = candidates(stop=("ok", 500), called=("margin_call", 2000))
    for key in ("stop", "called"):
        decisions.leave(book.index[key], key)
        book.drop([key])
    assert decisions.candidates() == set()
