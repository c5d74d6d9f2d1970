"""The API is as it describes itself: requests made from its schema, good ones and broken ones."""

import time
import zlib
from decimal import Decimal

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, event, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portfolio.services import accounts
from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
from stocksblitz.market.models import Instrument
from stocksblitz.redis.client import current_keys, sync_client

load_all_checks()
pytestmark = pytest.mark.django_db(transaction=True)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
RANDOM = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


SYMBOL, KEY = "BTCUSD", "demo:1"


@pytest.fixture
def described(transactional_db, monkeypatch, settings):
    settings.DEBUG = False
    settings.PRICE_CACHE_TIME = 0.0
    monkeypatch.setattr("indicators.reads.pending_jobs.NOBODY_S", 0.0)
    monkeypatch.setattr("stocksblitz.redis.single_flight.TICK_S", 0.01)
    Instrument.objects.create(
        symbol=SYMBOL, exchange="24x7", kind="crypto", base_currency="BTC", currency="USD", margin_mode="cfd"
    )
    return schemathesis.openapi.from_wsgi("/api/schema?format=json", get_wsgi_application())


schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture
def token(transactional_db):
    user = User.objects.create_superuser("root")
    return tokens.issue(Login.objects.create(user=user))["access"]


@pytest.fixture
def account(described):
    """An account that is really there, with a position, a pending order and a price; returns their ids."""
    now = int(time.time() * 1000)
    row = {"bid": 100, "ask": 101, "last": 100, "ts": now, "fresh_until": now + 600_000}
    sync_client().hset(current_keys().market(SYMBOL), mapping=row)
    owner = User.objects.create(username="owner")
    rich = Decimal(10) ** 9
    accounts.open_account(key=KEY, owner=owner, currency="USD", balance=rich, leverage=100)
    one = {"key": KEY, "symbol": SYMBOL, "side": "buy", "quantity": Decimal(1)}
    quote = accounts.current_quote(KEY, SYMBOL)
    position = accounts.book_position(**one, price=Decimal(90))
    order = accounts.place_order(**one, kind="limit", price=Decimal(50), quote=quote)
    return {"position": position.pk, "order": order.pk}


def check(case, token):
    headers = {} if case.path.startswith("/auth/token") else {"Authorization": f"Bearer {token}"}
    if case.path == "/auth/logout":  # would end the token of the cases to come
        headers["Authorization"] = (
            f"Bearer {tokens.issue(Login.objects.create(user=User.objects.get()))['access']}"
        )
    reply = case.call(headers=headers)
    assert reply.status_code != 500, reply.text
    case.validate_response(reply, checks=CHECKS)
    return reply.status_code


@schema.include(path_regex=r"^/(auth|indicators|api/market)").parametrize()
@RANDOM
def test_every_answer_is_described(case, token):
    check(case, token)


@schema.include(path_regex=r"^/api/portfolio").parametrize()
@RANDOM
def test_every_answer_about_a_portfolio_is_described(case, token, account):
    """Whatever is well-formed is made to be about what is there, half of the time."""
    given = str((case.path_parameters, case.query, case.body)).encode()
    if real := zlib.crc32(given) % 2 == 0:
        if "key" in case.path_parameters:
            case.path_parameters["key"] = KEY
        if "id" in case.path_parameters:
            case.path_parameters["id"] = account["order" if "orders" in case.path else "position"]
        if isinstance(case.body, dict):
            there = {"account": KEY, "symbol": SYMBOL, "owner": "owner"}
            case.body |= {name: there[name] for name in there.keys() & case.body.keys()}
    status = check(case, token)
    event("well-formed and about what is there" if real and status < 300 else "refused")
