"""The admin: accounts are made and changed through the services, what happened is read-only."""

from decimal import Decimal

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.test import Client

from portfolio.admin import OrderAdmin
from portfolio.models import Account, AccountGroup, LedgerEntry, Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(real, instruments):
    root = User.objects.create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(root)
    return client


def form(root, **more):
    blank = {"group": "", "margin_call_level": "", "stop_out_level": "", "levels_in": ""}
    fixed = {
        "leverage": "100",
        "marking": "sided",
        "margin_policy": "frozen",
        "position_mode": "hedging",
        "currency": "USD",
    }
    return {**blank, **fixed, "owner": root, **more}


def test_an_account_is_opened_with_its_deposit_and_changed_without_one(admin):
    root = User.objects.get(username="root").pk
    reply = admin.post("/admin/portfolio/account/add/", form(root, key="demo:55", opening_balance="250.5"))
    assert reply.status_code == 302, reply.content[:2000]
    made = Account.objects.get()
    assert (made.key, made.balance, made.user_type) == ("demo:55", Decimal("250.5"), "demo")
    reply = admin.post(
        f"/admin/portfolio/account/{made.pk}/change/", form(root, leverage="30", stop_out_level="20")
    )
    assert reply.status_code == 302, reply.content[:2000]
    made.refresh_from_db()
    assert (made.leverage, made.stop_out_level, made.balance) == (30, 20, Decimal("250.5"))
    assert LedgerEntry.objects.count() == 1


def test_groups_refuse_tiers_that_are_none(admin):
    form = {"name": "g", "levels_in": "percent", "commission_rate": "0", "tiers": '[["x", "1"]]'}
    assert admin.post("/admin/portfolio/accountgroup/add/", form).status_code == 200
    assert not AccountGroup.objects.exists()
    assert (
        admin.post("/admin/portfolio/accountgroup/add/", {**form, "tiers": '[["10", "2"]]'}).status_code
        == 302
    )


@pytest.mark.parametrize(
    "model", ["position", "order", "fill", "ledgerentry", "marginevent", "idempotencykey"]
)
def test_what_happened_is_read_only(admin, model):
    assert admin.get(f"/admin/portfolio/{model}/").status_code == 200
    assert admin.get(f"/admin/portfolio/{model}/add/").status_code == 403


def test_who_may_only_look_cancels_nothing(admin, rf):
    viewer = User.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_order"))

    def actions(user):
        request = rf.get("/admin/portfolio/order/")
        request.user = user
        return list(OrderAdmin(Order, site).get_actions(request))

    assert actions(viewer) == []
    assert "cancel" in actions(User.objects.get(username="root"))
