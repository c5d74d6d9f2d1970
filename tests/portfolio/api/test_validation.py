"""What accounts, instruments and orders may be: steps, bounds, currencies, levels, and who books what."""

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from rest_framework.test import APIClient

from portfolio.models import Account, AccountGroup, Order, Position
from stocksblitz.identity.models import ApiKey
from stocksblitz.market.models import Instrument
from tests.portfolio.api.calls import A, P, buy, order

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _realm(real, instruments):
    pass


@pytest.fixture
def stepped(account, price):
    """An account, and LOTS that is traded in steps of half a lot and of five cents."""
    Instrument.objects.create(
        symbol="LOTS", exchange="24x7", kind="equity", currency="USD", lot_size="0.5", tick_size="0.05"
    )
    price("LOTS", "100")
    return account()


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ({"quantity": "1.7"}, "1.5"),
        ({"quantity": "0.1"}, "0.5"),
        ({"kind": "limit", "quantity": "2.3", "price": "90"}, "2.5"),
        ({"kind": "limit", "price": "90.02"}, "90"),
        ({"kind": "stop", "price": "110.03"}, "110.05"),
    ],
)
def test_an_order_between_two_steps_is_refused_with_the_nearest(rest, stepped, given, nearest):
    refused = order(rest, stepped, symbol="LOTS", status=400, **given)
    assert refused["code"] == "invalid_parameter"
    assert refused["detail"].endswith(f"the nearest valid value is {nearest}")
    assert not Order.objects.exists()


def test_a_position_closes_in_steps_or_whole(rest, stepped):
    held = buy(rest, stepped, "LOTS", "1.75", "99.99")["id"]  # booked elsewhere: neither step holds
    refused = rest["alice"]("post", f"{P}/{held}/close", {"quantity": "0.7"}, 400)
    assert "the nearest valid value is 0.5" in refused["detail"]
    assert rest["alice"]("post", f"{P}/{held}/close", {"quantity": "0.5"})["quantity"] == "1.25"
    assert rest["alice"]("post", f"{P}/{held}/close", {"quantity": "1.25"})["status"] == "closed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("contract_size", "0"), ("tick_size", "-0.01"), ("lot_size", "0"), ("margin_rate", "-1"),
        ("initial_margin", "-1"), ("maintenance_margin", "-0.5"), ("hedged_margin", "-1"), ("currency", "XQZ"),
        ("currency", "usd"), ("base_currency", "QQQQ"),
    ],
)  # fmt: skip
def test_an_instrument_out_of_bounds_is_refused_everywhere(rest, field, value):
    body = {"symbol": "ZZZ", "exchange": "24x7", "kind": "equity", "currency": "USD", field: value}
    assert rest["admin"]("post", "/api/market/symbols", body, 400)["errors"][0]["field"] == field
    with pytest.raises(ValidationError) as refused:
        Instrument(**body).full_clean()
    assert field in refused.value.message_dict


@pytest.mark.parametrize("change", [{"contract_size": 0}, {"tick_size": -1}, {"hedged_margin": -1}])
def test_an_update_cannot_put_an_instrument_out_of_bounds(change):
    with pytest.raises(IntegrityError), transaction.atomic():
        Instrument.objects.filter(symbol="OIL").update(**change)


@pytest.mark.parametrize("currency", ["XQZ", "ABCDE", "XXX", "usd", ""])
def test_an_account_in_no_currency_is_refused(rest, currency):
    body = {"key": "live:1", "owner": "alice", "currency": currency}
    assert rest["admin"]("post", A, body, 400)["errors"][0]["field"] == "currency"


@pytest.mark.parametrize(
    "levels",
    [
        {"margin_call_level": "50", "stop_out_level": "50"},
        {"stop_out_level": "120"},
        {"margin_call_level": "30"},
        {"group": "tight", "margin_call_level": "85"},
    ],
)
def test_a_stop_out_that_is_not_below_the_margin_call_is_refused(rest, account, levels):
    AccountGroup.objects.create(name="tight", margin_call_level=120, stop_out_level=90)
    body = {"key": "live:1", "owner": "alice", "currency": "USD", **levels}
    assert "stop_out_level" in rest["admin"]("post", A, body, 400)["detail"]
    account("live:2")
    rest["admin"]("patch", f"{A}/live:2", levels, 400)
    assert Account.objects.get().margin_call_level is None


def test_a_group_cannot_turn_the_levels_of_its_accounts_round(account):
    group = AccountGroup.objects.create(name="g", margin_call_level=90, stop_out_level=40)
    account(group="g", stop_out_level="60")
    group.margin_call_level = 50
    with pytest.raises(ValidationError, match="live:1"):
        group.full_clean()


def test_positions_booked_elsewhere_are_for_staff_or_a_key_with_the_permission(rest, account, people):
    key = account()
    body = {"account": key, "symbol": "EURUSD", "side": "buy", "quantity": "1", "price": "1"}
    assert rest["alice"]("post", P, body, 403)["code"] == "forbidden"
    people["alice"].user_permissions.add(Permission.objects.get(codename="book_position"))
    client = APIClient()
    client.force_authenticate(people["alice"].__class__.objects.get(pk=people["alice"].pk))
    assert client.post(P, body, format="json").status_code == 403  # not by signing in
    _, text = ApiKey.objects.create_key(name="back office", user=people["alice"])
    booked = APIClient().post(P, body, format="json", headers={"Authorization": f"Api-Key {text}"})
    assert booked.status_code == 201, booked.content
    assert Position.objects.count() == 1


def test_more_than_there_is_leaves_only_when_staff_says_so(rest, account):
    key = account(balance="100")
    body = {"amount": "-100.01", "reference": "wire-1"}
    assert "100.00 USD" in rest["admin"]("post", f"{A}/{key}/deposits", body, 409)["detail"]
    body["allow_negative_balance"] = True
    assert rest["admin"]("post", f"{A}/{key}/deposits", body)["balance"] == "-0.01"
    rest["admin"]("post", f"{A}/{key}/deposits", {"amount": "-0.001", "reference": "w"}, 400)


def test_a_commission_takes_no_more_than_there_is(rest, account, price):
    AccountGroup.objects.create(name="dear", commission_rate="0.01")
    key = account(group="dear", balance="1300")
    price("EURUSD", "1.2790")
    # The margin of one lot is 1279, its commission another 1279.
    assert "free margin" in order(rest, key, status=409)["detail"]
    held = order(rest, key, quantity="0.5")["fills"][0]["position"]  # 639.50 margin, 639.50 commission
    Account.objects.update(balance="5")
    closed = rest["alice"]("post", f"{P}/{held}/close", {})
    assert closed["fill"]["commission"] == "5.00"
    assert Account.objects.get().balance == 0
