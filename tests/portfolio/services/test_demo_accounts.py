"""The demo accounts of the first day."""

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from portfolio.models import Account, Position
from portfolio.services.queries import current_snapshot
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.models import Instrument

pytestmark = pytest.mark.django_db


def test_demo_accounts_are_made_once_at_the_prices_of_now(settings, price, capsys):
    settings.FEED, settings.DEBUG = FeedSpec.parse("simulated"), True
    prices = {
        "EURUSD": "1.0850",
        "GBPUSD": "1.2750",
        "USDJPY": "152.40",
        "BTCUSD": "68000",
        "ETHUSD": "2650",
        "AAPL": "232",
    }
    for symbol, at in prices.items():
        pair = len(symbol) == 6
        Instrument.objects.create(
            symbol=symbol, exchange="24x7", kind="forex" if pair else "equity", base_currency=symbol[:3] if pair else "",
            currency=symbol[3:] if pair else "USD", margin_mode="cfd_leverage", tick_size="0.00001",
        )  # fmt: skip
        if symbol != "AAPL":
            price(symbol, at)
    with pytest.raises(CommandError):
        call_command("seed_portfolio")
    owner = User.objects.create(username="demo")
    call_command("seed_portfolio")
    assert set(Account.objects.values_list("key", flat=True)) == {"demo:2", "demo:3"}
    price("AAPL", "232")
    call_command("seed_portfolio")
    call_command("seed_portfolio")
    assert Account.objects.filter(owner=owner).count() == 3
    assert Position.objects.count() == 8
    near = current_snapshot(Account.objects.select_related("group").get(key="demo:2"))
    assert near["state"] == "ok"
    assert 100 < float(near["margin_level"]) < 200


def test_nothing_is_seeded_outside_development(settings, db):
    settings.DEBUG = False
    with pytest.raises(CommandError):
        call_command("seed_portfolio")
