"""Errors outside of REST views tell nothing of the server, with and without ``DEBUG``."""

import pprint

import pytest
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import Http404
from django.test import Client
from django.urls import path

from stocksblitz import urls
from stocksblitz.secret import Secret

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

FAILURES = {
    "bug": ZeroDivisionError,
    "suspicious": SuspiciousOperation,
    "bad": BadRequest,
    "missing": Http404,
    "denied": PermissionError,
}
TOKEN = "token-of-a-broker-4711"


def failing(request, kind):
    secret = TOKEN  # a variable of the frame, as a report of Django would show it
    raise FAILURES[kind](secret[:5])


urlpatterns = [path("fails/<str:kind>", failing), *urls.urlpatterns]
handler400, handler403, handler404, handler500 = (
    urls.handler400,
    urls.handler403,
    urls.handler404,
    urls.handler500,
)


@pytest.fixture
def client(settings):
    settings.DEBUG = True
    settings.QUOTE_ACCOUNTS = Secret(f'{{"broker": {{"headers": {{"Authorization": "{TOKEN}"}}}}}}')
    return Client(raise_request_exception=False)


def tells_nothing(reply, *statuses):
    assert reply.status_code in statuses
    text = reply.content.decode()
    for name in (TOKEN, "QUOTE_ACCOUNTS", "INSTALLED_APPS", "SIMPLE_JWT", "Traceback", "test_error_views"):
        assert name not in text


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
@pytest.mark.parametrize("address", ["/", "/login", "/nowhere", "/admin/", "/auth/token", "/api/schema"])
def test_a_foreign_host_is_told_nothing(client, address, accept):
    tells_nothing(client.get(address, headers={"host": "evil.example", "accept": accept}), 400)


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_told_in_the_log_alone(client, kind, accept):
    tells_nothing(client.get(f"/fails/{kind}", headers={"accept": accept}), 400, 404, 500)


@pytest.mark.parametrize(
    "address", ["/nowhere", "/admin/nowhere/", "/static/nowhere", "/api/market/X/nowhere"]
)
def test_what_is_not_there_tells_nothing(client, address):
    tells_nothing(client.get(address, headers={"accept": "text/html"}), 404, 302)


def test_a_credential_is_not_shown_with_other_values():
    from stocksblitz import settings

    for name in ("SECRET_KEY", "QUOTE_ACCOUNTS", "REDIS_URL"):
        assert pprint.pformat({name: getattr(settings, name)}) == f"{{'{name}': Secret('…')}}"
    assert Secret("value-of-it") == "value-of-it"
