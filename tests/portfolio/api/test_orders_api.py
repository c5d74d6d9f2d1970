"""Orders over REST: executed, kept, taken back, refused."""

import pytest

from portfolio.models import Fill, Order, Position
from tests.portfolio.api.calls import O, order, snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _realm(real, instruments):
    pass


def test_market_orders_execute_at_the_quote(rest, account, price):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    done = order(rest, key)
    assert (done["status"], done["filled_price"], done["fills"][0]["price"]) == ("filled", "1.279", "1.279")
    sold = order(rest, key, side="sell")
    assert sold["filled_price"] == "1.2788"
    assert Position.objects.filter(status="open").count() == 2


def test_pending_orders_reserve_margin_and_are_taken_back(rest, account, price):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    made = order(rest, key, "limit", price="1.2500")
    assert (made["status"], made["margin"]) == ("pending", "1250.00")
    assert snapshot(rest, key)["used_margin"] == "1250.00"
    rest["bob"]("delete", f"{O}/{made['id']}", status=404)
    assert rest["alice"]("delete", f"{O}/{made['id']}")["status"] == "cancelled"
    rest["alice"]("delete", f"{O}/{made['id']}", status=404)
    assert snapshot(rest, key)["used_margin"] == "0.00"


@pytest.mark.parametrize(
    ("kind", "side", "at", "now"),
    [("limit", "buy", "1.2800", True), ("limit", "sell", "1.2700", True), ("stop", "buy", "1.2700", True),
     ("stop", "sell", "1.2800", True), ("stop", "buy", "1.2800", False), ("stop", "sell", "1.2700", False),
     ("limit", "sell", "1.2800", False), ("limit", "buy", "1.2790", True)],
)  # fmt: skip
def test_an_order_whose_price_is_there_is_executed_at_once(rest, account, price, kind, side, at, now):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    made = order(rest, key, kind, side=side, price=at)
    assert made["status"] == ("filled" if now else "pending")


def test_without_free_margin_nothing_is_opened(rest, account, price):
    key = account(balance="2000")
    price("EURUSD", "1.2788", "1.2790")
    order(rest, key)
    refused = order(rest, key, status=409)
    assert "free margin" in refused["detail"]
    order(rest, key, "limit", price="1.0", status=409)
    assert Position.objects.count() == 1
    # What covers the open position needs no margin.
    order(rest, key, side="sell")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"symbol": "NOPE"}, 404),
        ({"quantity": "0"}, 400),
        ({"quantity": "-1"}, 400),
        ({"quantity": "1e30"}, 400),
        ({"type": "limit"}, 400),
        ({"price": "1"}, 400),
        ({"side": "long"}, 400),
        ({"type": "iceberg"}, 400),
        ({"account": "live:2"}, 404),
        ({"extra": 1}, 400),
    ],
)
def test_a_wrong_order_is_refused_and_nothing_is_kept(rest, account, price, change, status):
    key = account()
    price("EURUSD", "1.2790")
    body = {"account": key, "symbol": "EURUSD", "side": "buy", "quantity": "1", "type": "market", **change}
    rest["alice"]("post", O, body, status)
    assert not Order.objects.exists()
    assert not Fill.objects.exists()
