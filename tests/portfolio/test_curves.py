"""The equity curve is kept for accounts that somebody looked at."""

from decimal import Decimal as D

import pytest

from portfolio import curves
from portfolio.margin.fx import Graph
from portfolio.margin.types import Account, Rules
from portfolio.valuation.book import Book
from stocksblitz.redis import keys as names


@pytest.fixture
def book():
    made = Book(Graph(()))
    made.put({key: Account(Rules("USD"), D("12.5")) for key in ("demo:1", "demo:2")})
    made.revalue()
    return made


async def test_points_are_added_for_what_is_wanted_and_bounded(aredis, book, monkeypatch):
    monkeypatch.setattr(curves, "POINTS", 3)
    kept = curves.Curves(aredis, names(), book)
    await kept.step()
    assert curves.read("demo:1") == []
    for _ in range(5):
        await kept.step()
    points = curves.read("demo:1")
    assert [equity for _, equity in points] == [12.5] * 3
    assert points == sorted(points)
    assert curves.read("demo:2") == []  # wanted only from now on
    curves.want("demo:unknown")
    await kept.step()
