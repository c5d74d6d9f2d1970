"""A staff user, two owners, a few instruments, and prices as a feed would leave them."""

import time

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.models import Instrument


@pytest.fixture
def real(settings, namespace):
    """The real realm: somebody else writes the prices."""
    settings.FEED = FeedSpec.parse("external")
    settings.PRICE_CACHE_TIME = 0.0
    return settings


@pytest.fixture
def people(db):
    return {
        "admin": User.objects.create(username="admin", is_staff=True),
        "alice": User.objects.create(username="alice"),
        "bob": User.objects.create(username="bob"),
    }


class Rest:
    """One user's way to the API; every call names the status it expects. What is due on commit is done
    after it.
    """

    def __init__(self, user, committing):
        self.client = APIClient()
        self.client.force_authenticate(user)
        self.committing = committing

    def __call__(self, method, path, body=None, status=200, **headers):
        call = getattr(self.client, method.lower())
        with self.committing(execute=True):
            reply = call(path, *([] if body is None else [body]), format="json", headers=headers)
        assert reply.status_code == status, (reply.status_code, reply.content[:600])
        return reply.json() if reply.content else None


@pytest.fixture
def rest(people, django_capture_on_commit_callbacks):
    return {name: Rest(user, django_capture_on_commit_callbacks) for name, user in people.items()}


FOREX = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "EURGBP")


@pytest.fixture
def instruments(db):
    make_instruments()


def make_instruments():
    for symbol in FOREX:
        Instrument.objects.create(
            symbol=symbol, exchange="24x5", kind="forex", base_currency=symbol[:3], currency=symbol[3:],
            contract_size=100000, margin_mode="forex", lot_size="0.01", tick_size="0.00001",
        )  # fmt: skip
    Instrument.objects.create(
        symbol="OIL", exchange="24x7", kind="index", currency="USD", contract_size=100, margin_mode="cfd"
    )
    Instrument.objects.create(
        symbol="AAPL", exchange="XNAS", kind="equity", currency="USD", margin_mode="cfd_leverage"
    )


@pytest.fixture
def price(redis, keys):
    """Write a symbol's price as a feed does, and tell of it."""

    def write(symbol, bid, ask=None, *, ts=None, tell=True, **fields):
        from stocksblitz.redis.client import current_keys as names

        now = int(time.time() * 1000)
        ask = bid if ask is None else ask
        row = {"bid": bid, "ask": ask, "last": bid, "ts": ts or now, "fresh_until": now + 60_000, **fields}
        redis.hset(names().market(symbol), mapping=row)
        if tell:
            redis.publish(names().price_updates, symbol)

    return write


@pytest.fixture
def account(rest):
    """Make an account over the API; returns its key."""

    def make(
        key="live:1", owner="alice", currency="USD", balance="10000", leverage=100, mode="hedging", **more
    ):
        body = {"key": key, "owner": owner, "currency": currency, "balance": balance, "leverage": leverage}
        rest["admin"]("post", "/api/portfolio/accounts", {**body, "position_mode": mode, **more}, 201)
        return key

    return make
