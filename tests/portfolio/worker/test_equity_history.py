"""The equity curve is kept for accounts that somebody looked at."""

from decimal import Decimal as D

import pytest

from portfolio.margin.fx import Graph
from portfolio.margin.types import MarginAccount, Rules
from portfolio.valuation.book import Book
from portfolio.worker import equity_history
from stocksblitz.redis.client import current_keys as names


@pytest.fixture
def book():
    made = Book(Graph(()))
    made.put({key: MarginAccount(Rules("USD"), D("12.5")) for key in ("demo:1", "demo:2")})
    made.revalue()
    return made


async def test_points_are_added_for_what_is_wanted_and_bounded(aredis, book, monkeypatch):
    monkeypatch.setattr(equity_history, "POINTS", 3)
    kept = equity_history.EquityHistory(aredis, names(), book)
    await kept.add_points()
    assert equity_history.read("demo:1") == []
    for _ in range(5):
        await kept.add_points()
    points = equity_history.read("demo:1")
    assert [equity for _, equity in points] == [12.5] * 3
    assert points == sorted(points)
    assert equity_history.read("demo:2") == []  # wanted only from now on
    equity_history.request("demo:unknown")
    await kept.add_points()
