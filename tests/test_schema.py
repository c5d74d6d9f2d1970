"""The API is as it describes itself: requests made from its schema, good ones and broken ones."""

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login

load_all_checks()
pytestmark = pytest.mark.django_db(transaction=True)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def described(transactional_db, monkeypatch, settings):
    from stocksblitz.market.models import Instrument

    settings.DEBUG = False
    monkeypatch.setattr("indicators.desk.NOBODY_S", 0.0)
    monkeypatch.setattr("indicators.desk.TICK_S", 0.01)
    Instrument.objects.create(symbol="BTCUSD", exchange="24x7", kind="crypto", currency="USD")
    return schemathesis.openapi.from_wsgi("/api/schema?format=json", get_wsgi_application())


schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture
def token(transactional_db):
    user = User.objects.create_superuser("root")
    return tokens.issue(Login.objects.create(user=user))["access"]


@schema.include(path_regex=r"^/(auth|indicators|api/market/(?!portfolio))").parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_described(case, token):
    headers = {} if case.path.startswith("/auth/token") else {"Authorization": f"Bearer {token}"}
    if case.path == "/auth/logout":  # would end the token of the cases to come
        headers["Authorization"] = (
            f"Bearer {tokens.issue(Login.objects.create(user=User.objects.get()))['access']}"
        )
    reply = case.call(headers=headers)
    assert reply.status_code != 500, reply.text
    case.validate_response(reply, checks=CHECKS)
