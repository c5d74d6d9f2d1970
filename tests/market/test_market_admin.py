"""Instruments in the admin."""

import pytest
from django.contrib.auth import get_user_model

from stocksblitz.market.models import Bar, Instrument

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client):
    client.force_login(get_user_model().objects.create_superuser("boss", password="x"))
    return client


TERMS = {
    "symbol": "AAA", "exchange": "XNSE", "kind": "equity", "currency": "INR", "contract_size": "1", "lot_size": "1",
    "tick_size": "0.05", "margin_mode": "stock", "margin_rate": "1", "active": "on", "hedged_margin": "0",
}  # fmt: skip


def test_staff_makes_an_instrument(staff):
    assert staff.post("/admin/market/instrument/add/", TERMS).status_code == 302
    assert Instrument.objects.get().exchange == "XNSE"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("exchange", "NYSE", "market identifier code"),
        ("symbol", "metrics", "Enter a valid value"),
        ("symbol", "A:B", "Enter a valid value"),
    ],
)
def test_what_no_feed_could_use_is_refused(staff, field, value, message):
    answer = staff.post("/admin/market/instrument/add/", {**TERMS, field: value})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert not Instrument.objects.exists()


def test_bars_can_be_looked_at_and_not_changed(staff):
    bar = Bar.objects.create(
        symbol="AAA", timeframe="1min", ts=1, session=0, open=1, high=1, low=1, close=1, volume=1
    )
    assert staff.get("/admin/market/bar/?q=AAA").status_code == 200
    assert staff.get("/admin/market/bar/add/").status_code == 403
    assert staff.post(f"/admin/market/bar/{bar.pk}/delete/", {"post": "yes"}).status_code == 403
