"""A user who means ill: numbers that are none or too large, filters, pages, others' keys and things, many at once."""

import threading

import pytest
from django.db import connections
from rest_framework.test import APIClient

from portfolio.models import Account, LedgerEntry, Order, Position

pytestmark = pytest.mark.django_db(transaction=True)

A, P, O, F = (f"/api/portfolio/{each}" for each in ("accounts", "positions", "orders", "fills"))  # noqa: E741  (orders)
NO_NUMBERS: list[object] = [
    "NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e-400",
    "-1",
    "0",
    "1_000",
    " 1",
    "٣",
    "0x10",
    "",
]
NO_NUMBERS += [True, None, [], {}, 10**30, "1" * 5000, "999999999999.99999999"]
LARGE: list[object] = ["1e11", "99999999999.99999999", 1e11]


@pytest.fixture
def alice(rest, instruments, account, price, real):
    account()
    account("live:2", owner="bob")
    price("EURUSD", "1.1", "1.1001")
    return rest["alice"].client


@pytest.fixture
def staff(alice, rest):
    return rest["admin"].client


def position(quantity="1", price="1.1", **more):
    return {
        "account": "live:1",
        "symbol": "EURUSD",
        "side": "buy",
        "quantity": quantity,
        "price": price,
        **more,
    }


def refused(reply):
    assert reply.status_code in (400, 409), (reply.status_code, reply.content[:300])


@pytest.mark.parametrize("number", NO_NUMBERS, ids=lambda value: repr(value)[:24])
def test_what_is_no_number_is_refused_everywhere(alice, staff, number):
    refused(staff.post(P, position(quantity=number), format="json"))
    refused(
        staff.post(P, position(price=number if number != "999999999999.99999999" else "1e15"), format="json")
    )
    for kind in ("market", "limit", "stop"):
        price = {"price": "1"} if kind != "market" else {}
        body = {key: value for key, value in position(quantity=number).items() if key != "price"}
        refused(alice.post(O, {**body, "type": kind, **price}, format="json"))
    assert Position.objects.count() + Order.objects.count() == 0


@pytest.mark.parametrize("quantity", LARGE)
@pytest.mark.parametrize("at", ["99999999999999", "1.1", "0.0000000001"])
def test_what_no_account_can_book_is_refused_and_the_account_stays_readable(alice, staff, rest, quantity, at):
    refused(staff.post(P, position(quantity, at), format="json"))
    body = position(quantity, at, side="sell", type="limit")
    refused(alice.post(O, body, format="json"))
    for path in (f"{A}/live:1", f"{A}/live:1/snapshot", P, O, f"{A}/live:1/ledger"):
        assert alice.get(path).status_code == 200
    assert rest["admin"].client.get(A).json()["count"] == 2
    assert Account.objects.get(key="live:1").balance == 10_000


def test_many_small_ones_do_not_add_up_to_too_much(alice, staff):
    """A netted position grows without a margin check when it is booked: up to a bound."""
    Account.objects.filter(key="live:1").update(position_mode="netting")
    statuses = [staff.post(P, position("30000000", "1"), format="json").status_code for _ in range(6)]
    assert statuses == [201] * 3 + [400] * 3
    assert alice.get(f"{A}/live:1/snapshot").status_code == 200
    assert alice.get(P).json()["results"][0]["quantity"] == "90000000"


QUERIES = [
    "limit=-1", "limit=0", "limit=999999999999", "limit=abc", "offset=-5", "offset=99999999999999999999999",
    "offset=9223372036854775808", "account=' OR 1=1 --", "symbol=%00", "status=open' --", "side=x",
    "position=99999999999999999999999999", "order=-1", "account=%ff", "user_type=%00", "currency=' OR ''='",
    f"symbol={'A' * 5000}", "owner=bob", "account__owner=1", "ordering=account__owner__password",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda text: text[:24])
def test_no_filter_or_page_fails_or_shows_what_is_anothers(alice, rest, query):
    rest["admin"]("post", P, {**position(), "account": "live:2"}, 201)
    for path in (A, P, O, F, f"{A}/live:1/events", f"{A}/live:1/journal"):
        reply = alice.get(f"{path}?{query}")
        assert reply.status_code in (200, 400), (path, reply.status_code)
        assert b"live:2" not in reply.content
        if reply.status_code == 200:
            assert len(reply.json()["results"]) <= 500


@pytest.mark.parametrize("pk", ["0", "9223372036854775808", "9" * 400, "-1", "1%00"])
def test_ids_that_are_none_are_not_found(alice, pk):
    for reply in (
        alice.get(f"{P}/{pk}"), alice.post(f"{P}/{pk}/close", {}, format="json"), alice.get(f"{O}/{pk}"),
        alice.delete(f"{O}/{pk}"),
    ):  # fmt: skip
        assert reply.status_code == 404
        assert reply.headers["Content-Type"] == "application/problem+json"


def test_fields_that_are_not_the_users_to_set_are_refused(alice, staff):
    for more in (
        {"margin": "0"},
        {"status": "closed"},
        {"realized_pnl": "1000000"},
        {"account_id": 2},
        {"id": 7},
    ):
        refused(staff.post(P, position(**more), format="json"))
        refused(alice.post(O, position(type="limit", **more), format="json"))
    for more in ({"balance": "1000000"}, {"owner": "alice"}, {"leverage": 5000}, {"state": "ok"}):
        assert alice.patch(f"{A}/live:1", more, format="json").status_code == 403
        assert alice.patch(f"{A}/live:2", more, format="json").status_code == 404
    assert (
        alice.post(f"{A}/live:1/deposits", {"amount": "5", "reference": "x"}, format="json").status_code
        == 403
    )


def test_anothers_idempotency_key_is_not_ones_own(alice, rest):
    def market(**more):
        order = {"account": "live:1", "symbol": "EURUSD", "side": "buy", "quantity": "0.1", "type": "market"}
        return {**order, **more}

    mine = alice.post(O, market(), format="json", headers={"Idempotency-Key": "k"}).json()
    theirs = rest["bob"]("post", O, market(account="live:2"), 201, **{"Idempotency-Key": "k"})
    assert (theirs["account"], theirs["id"] != mine["id"]) == ("live:2", True)
    refused(alice.post(O, market(quantity="0.2"), format="json", headers={"Idempotency-Key": "k"}))
    for key in ("", "a b", "ü", "x" * 129):
        refused(alice.post(O, market(), format="json", headers={"Idempotency-Key": key}))
    assert Position.objects.count() == 2


def test_the_same_key_sent_by_many_at_once_moves_money_once(alice, staff, people):
    held = staff.post(P, position("8", "1.0999"), format="json").json()["id"]
    barrier, replies = threading.Barrier(6), []

    def close():
        client = APIClient()
        client.force_authenticate(people["alice"])
        barrier.wait()
        try:
            body, headers = {"quantity": "1"}, {"Idempotency-Key": "close-1"}
            replies.append(client.post(f"{P}/{held}/close", body, format="json", headers=headers))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=close) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert Position.objects.get(pk=held).quantity == 7
    assert LedgerEntry.objects.filter(reference__startswith="close:").count() == 1
