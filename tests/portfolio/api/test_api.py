"""The portfolio over REST: who may do what, what it books, and what it refuses."""

import pytest

from portfolio.models import Account, LedgerEntry, Order, Position
from tests.portfolio.api.calls import A, O, P, buy, order, snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _realm(real, instruments):
    pass


def test_an_account_is_made_by_staff_and_seen_by_its_owner_alone(rest, account):
    key = account("live:12345", margin_call_level="100", stop_out_level="50")
    mine = rest["alice"]("get", f"{A}/{key}")
    assert (mine["balance"], mine["leverage"], mine["stop_out_level"]) == ("10000.00", 100, "50")
    assert rest["admin"]("get", f"{A}/{key}")["owner"] == "alice"
    assert [a["key"] for a in rest["alice"]("get", A)["results"]] == [key]
    assert rest["bob"]("get", A)["results"] == []
    rest["bob"]("get", f"{A}/{key}", status=404)
    rest["bob"]("get", f"{A}/demo:12345", status=404)
    body = {"key": "live:7", "owner": "bob", "currency": "USD", "balance": "1"}
    assert rest["bob"]("post", A, body, 403)["code"] == "forbidden"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"key": "live:12345"}, 409),
        ({"key": "gold:1"}, 400),
        ({"key": "live:1\n"}, 400),
        ({"key": "live:../x"}, 400),
        ({"owner": "nobody"}, 400),
        ({"currency": "usd"}, 400),
        ({"balance": "NaN"}, 400),
        ({"balance": "1e999999"}, 400),
        ({"balance": "-1"}, 400),
        ({"leverage": 0}, 400),
        ({"stop_out_level": "-1"}, 400),
        ({"group": "none such"}, 400),
        ({"colour": "red"}, 400),
        ({"position_mode": "both"}, 400),
    ],
)
def test_a_wrong_account_is_refused_and_nothing_is_kept(rest, account, change, status):
    account("live:12345")
    body = {"key": "live:2", "owner": "alice", "currency": "USD", "balance": "100", "leverage": 1, **change}
    problem = rest["admin"]("post", A, body, status)
    assert problem["code"]
    assert problem["detail"]
    assert Account.objects.count() == 1


def test_the_worked_example_of_the_manual(rest, account, price):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    made = buy(rest, key)
    assert made["margin"] == "1279.00"
    snap = snapshot(rest, key)
    assert snap["used_margin"] == "1279.00"
    assert snap["unrealized_pnl"] == "-20.00"
    assert snap["equity"] == "9980.00"
    assert snap["free_margin"] == "8701.00"
    assert snap["margin_level"] == "780.30"
    assert snap["positions"][0] == {
        "id": made["id"], "symbol": "EURUSD", "side": "buy", "quantity": "1", "price": "1.279",
        "unrealized_pnl": "-20.00",
    }  # fmt: skip
    assert snap["stop_out_distance"] == "9340.50"


def test_holders_follow_every_write(rest, account, price, redis, keys):
    from stocksblitz.redis.client import current_keys as names

    key, holders = account(), names().holders("EURUSD", "live")
    price("EURUSD", "1.2790")
    first, second = buy(rest, key)["id"], buy(rest, key)["id"]
    assert redis.smembers(holders) == {b"live:1"}
    rest["alice"]("post", f"{P}/{first}/close", {})
    assert redis.smembers(holders) == {b"live:1"}
    rest["alice"]("post", f"{P}/{second}/close", {"quantity": "0.4"})
    assert redis.smembers(holders) == {b"live:1"}
    rest["alice"]("post", f"{P}/{second}/close", {})
    assert redis.smembers(holders) == set()


def test_holders_are_rebuilt_from_the_database(rest, account, price, redis):
    from django.core.management import call_command

    from stocksblitz.redis.client import current_keys as names

    key = account()
    price("EURUSD", "1.2790")
    buy(rest, key)
    redis.delete(names().holders("EURUSD", "live"))
    redis.sadd(names().holders("GBPUSD", "demo"), "demo:gone")
    call_command("rebuild_holders")
    assert redis.smembers(names().holders("EURUSD", "live")) == {b"live:1"}
    assert redis.smembers(names().holders("GBPUSD", "demo")) == set()


def test_a_position_closes_in_part_and_books_what_it_earned(rest, account, price):
    key = account()
    price("USDJPY", "150.500", "150.510")
    made = buy(rest, key, "USDJPY", "1", "150.000")
    assert made["margin"] == "1000.00"
    part = rest["alice"]("post", f"{P}/{made['id']}/close", {"quantity": "0.40"})
    # 0.4 lots x 0.5 JPY = 20,000 JPY, sold for dollars at the ask of USDJPY.
    assert part["fill"]["realized_pnl"] == "132.88"
    assert (part["quantity"], part["margin"], part["status"]) == ("0.6", "600.00", "open")
    whole = rest["alice"]("post", f"{P}/{made['id']}/close", {})
    assert whole["status"] == "closed"
    snap = snapshot(rest, key)
    assert snap["balance"] == snap["equity"] == "10332.20"
    assert snap["margin_level"] is None
    rest["alice"]("post", f"{P}/{made['id']}/close", {}, status=409)
    ledger = rest["alice"]("get", f"{A}/{key}/ledger")["results"]
    assert [entry["amount"] for entry in ledger] == ["199.32", "132.88", "10000.00"]
    assert ledger[0]["balance"] == "10332.20"


def test_more_than_there_is_cannot_be_closed(rest, account, price):
    key = account()
    price("EURUSD", "1.2790")
    made = buy(rest, key)
    for quantity in ("1.01", "0", "-1", "x"):
        rest["alice"]("post", f"{P}/{made['id']}/close", {"quantity": quantity}, status=400)
    rest["bob"]("post", f"{P}/{made['id']}/close", {}, status=404)
    assert Position.objects.get().quantity == 1


def test_a_netting_account_averages_closes_and_flips(rest, account, price):
    key = account(mode="netting")
    price("AUDUSD", "1.00010", "1.00011")
    first = buy(rest, key, "AUDUSD", "1", "1.0000")
    added = buy(rest, key, "AUDUSD", "3", "1.0004")
    assert added["id"] == first["id"]
    assert (added["quantity"], added["price"]) == ("4", "1.0003")
    flipped = buy(rest, key, "AUDUSD", "6", "1.0005", side="sell")
    assert (flipped["side"], flipped["quantity"], flipped["price"]) == ("sell", "2", "1.0005")
    assert rest["alice"]("get", f"{P}/{first['id']}")["realized_pnl"] == "80.00"
    assert Account.objects.get().balance == 10080


def test_commission_is_the_groups(rest, account, price):
    from portfolio.models import AccountGroup

    AccountGroup.objects.create(name="ecn", commission_rate="0.00002")
    key = account(mode="netting", balance="1000000", group="ecn")
    price("AUDUSD", "1.00010", "1.00011")
    buy(rest, key, "AUDUSD", "1", "1.00001")
    buy(rest, key, "AUDUSD", "1.5", "1.00011", side="sell")
    # Earned 10.00 by the price, paid 2.00 and 3.00.
    assert Account.objects.get().balance == 1000005


def test_opposite_positions_of_a_hedging_account_cover_each_other(rest, account, price):
    key = account(balance="1000")
    price("EURUSD", "1.0900", "1.0902")
    buy(rest, key, price="1.1000")
    buy(rest, key, price="1.1002", side="sell")
    snap = snapshot(rest, key)
    assert (snap["equity"], snap["used_margin"], snap["margin_level"]) == ("1000.00", "0.00", None)
    assert snap["state"] == "ok"


def test_a_missing_rate_flags_the_account(rest, account, price):
    key = account(balance="5000")
    price("EURGBP", "0.86", "0.8602")
    buy(rest, key, "EURGBP", "1", "0.85")
    snap = snapshot(rest, key)
    assert (snap["stale"], snap["state"], snap["equity"]) == (True, "stale", None)
    assert snap["missing"] == ["EUR/USD", "GBP/USD"]
    price("GBPUSD", "1.25", "1.2502")
    snap = snapshot(rest, key)
    assert (snap["stale"], snap["unrealized_pnl"]) == (False, "1250.00")
    # EUR to USD over EURGBP and GBPUSD, at ask for a buy.
    assert snap["used_margin"] == "1075.42"


def test_a_stale_price_is_shown_and_flagged(rest, account, price):
    key = account()
    price("EURUSD", "1.2790", fresh_until=1)
    buy(rest, key)
    snap = snapshot(rest, key)
    assert (snap["stale"], snap["equity"]) == (True, "10000.00")
    assert "stale" in rest["alice"]("post", f"{P}/{Position.objects.get().pk}/close", {}, 503)["detail"]
    assert Position.objects.get().status == "open"


@pytest.mark.parametrize(
    ("bid", "ask"),
    [("NaN", "1"), ("0", "0"), ("1.3", "1.2"), ("abc", "1"), ("-1", "1"), ("Infinity", "Infinity")],
)
def test_a_price_that_is_none_is_never_reckoned_with(rest, account, price, bid, ask):
    key = account()
    price("EURUSD", bid, ask, last="NaN")
    buy(rest, key)
    snap = snapshot(rest, key)
    assert (snap["stale"], snap["equity"], snap["missing"]) == (True, None, ["EURUSD"])
    order(rest, key, status=503)
    assert not Order.objects.exists()


def test_the_same_key_does_the_same_thing_once(rest, account, price):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    headers = {"Idempotency-Key": "abc-1"}
    first = order(rest, key, headers=headers)
    again = order(rest, key, headers=headers)
    assert first == again
    assert Order.objects.count() == 1
    assert order(rest, key, quantity="2", status=409, headers=headers)["code"] == "conflict"
    order(rest, key, headers={"Idempotency-Key": "abc-2"})
    assert Order.objects.count() == 2
    order(rest, key, status=400, headers={"Idempotency-Key": "x" * 200})
    # Another user's key is another key.
    rest["bob"](
        "post",
        O,
        {"account": key, "symbol": "EURUSD", "side": "buy", "quantity": "1", "type": "market"},
        404,
        **headers,
    )


def test_what_failed_can_be_tried_again_with_its_key(rest, account, price):
    key = account(balance="10")
    price("EURUSD", "1.2790")
    order(rest, key, status=409, headers={"Idempotency-Key": "k"})
    rest["admin"]("post", f"{A}/{key}/deposits", {"amount": "5000", "reference": "wire-1"})
    assert order(rest, key, headers={"Idempotency-Key": "k"})["status"] == "filled"


def test_a_deposit_is_booked_once_and_by_staff(rest, account):
    key = account()
    body = {"amount": "-250.50", "reference": "payout-9"}
    rest["alice"]("post", f"{A}/{key}/deposits", body, 403)
    assert rest["admin"]("post", f"{A}/{key}/deposits", body)["balance"] == "9749.50"
    rest["admin"]("post", f"{A}/{key}/deposits", body, 409)
    assert LedgerEntry.objects.filter(kind="deposit").count() == 2


def test_staff_may_change_levels_and_owners_may_not(rest, account):
    key = account()
    rest["alice"]("patch", f"{A}/{key}", {"stop_out_level": "0"}, 403)
    assert (
        rest["admin"]("patch", f"{A}/{key}", {"stop_out_level": "20", "leverage": 30})["stop_out_level"]
        == "20"
    )
    rest["admin"]("patch", f"{A}/{key}", {"balance": "1"}, 400)


def test_staff_access_is_logged(rest, account, caplog):
    key = account()
    with caplog.at_level("INFO", "portfolio.services.queries"):
        snapshot(rest, key)
        assert not [r for r in caplog.records if getattr(r, "action", "") == "staff_access"]
        rest["admin"]("get", f"{A}/{key}/snapshot")
    [record] = [r for r in caplog.records if getattr(r, "action", "") == "staff_access"]
    assert (record.user, record.account, record.doing) == ("admin", key, "snapshot")


def test_nobody_reaches_anothers_things(rest, account, price):
    key = account()
    price("EURUSD", "1.2790")
    made, waiting = buy(rest, key), order(rest, key, "limit", price="1.1")
    for path in ("snapshot", "events", "journal", "ledger"):
        rest["bob"]("get", f"{A}/{key}/{path}", status=404)
    rest["bob"]("post", f"{A}/{key}/what-if", {"shocks": {"*": "0.1"}}, 404)
    rest["bob"]("get", f"{P}/{made['id']}", status=404)
    rest["bob"]("get", f"{O}/{waiting['id']}", status=404)
    for path in (P, O, "/api/portfolio/fills"):
        assert rest["bob"]("get", f"{path}?account={key}")["results"] == []
        assert rest["alice"]("get", f"{path}?account={key}&symbol=EURUSD")["count"] == 1
    rest["bob"](
        "post", P, {"account": key, "symbol": "EURUSD", "side": "buy", "quantity": "1", "price": "1"}, 403
    )


def test_what_if_reckons_a_shock_and_changes_nothing(rest, account, price):
    key = account()
    price("EURUSD", "1.0000")
    buy(rest, key, price="1.0000")
    down = rest["alice"]("post", f"{A}/{key}/what-if", {"shocks": {"*": "-0.05"}})
    assert down["unrealized_pnl"] == "-5000.00"
    assert snapshot(rest, key)["unrealized_pnl"] == "0.00"
    rest["alice"]("post", f"{A}/{key}/what-if", {"shocks": {"*": "-2"}}, 400)


def test_pages_are_bounded(rest, account, price):
    key = account()
    for _ in range(3):
        buy(rest, key, quantity="0.01")
    page = rest["alice"]("get", f"{P}?limit=2")
    assert (page["count"], len(page["results"])) == (3, 2)
    assert rest["alice"]("get", page["next"])["count"] == 3


def test_live_accounts_have_no_price_in_the_mock_realm(rest, account, price, settings):
    from stocksblitz.market.feeds.spec import FeedSpec

    settings.FEED = FeedSpec.parse("simulated")
    for kind in ("live", "demo"):
        key = account(f"{kind}:5")
        price("EURUSD", "1.2790")
        buy(rest, key)
        snap = snapshot(rest, key)
        assert snap["stale"] == (kind == "live")
        assert order(rest, key, status=503 if kind == "live" else 201)


def test_old_keys_are_forgotten_and_young_ones_are_not(rest, account, price):
    from datetime import timedelta

    from django.utils import timezone

    from portfolio.models import IdempotencyKey
    from portfolio.services.idempotency import KEPT, forget_old

    key = account()
    price("EURUSD", "1.2790")
    for name in ("old", "young"):
        order(rest, key, headers={"Idempotency-Key": name})
    IdempotencyKey.objects.filter(key="old").update(created_at=timezone.now() - KEPT - timedelta(minutes=1))
    assert forget_old() == 1
    assert IdempotencyKey.objects.get().key == "young"
