import threading

import orjson
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.urls import path
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.views import APIView

from stocksblitz import urls
from stocksblitz.api import json_format, throttles
from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
from stocksblitz.observability import aggregation

pytestmark = pytest.mark.django_db(transaction=True)


class Failing(APIView):
    authentication_classes = permission_classes = ()

    def get(self, request, kind):
        raise {
            "bug": ZeroDivisionError("1/0"),
            "redis": RedisConnectionError("gone"),
            "database": OperationalError("gone"),
        }[kind]


def broken_page(request):
    raise ZeroDivisionError("1/0")


urlpatterns = [path("fails/<str:kind>", Failing.as_view()), path("broken", broken_page), *urls.urlpatterns]
handler400, handler403, handler404, handler500 = (
    urls.handler400,
    urls.handler403,
    urls.handler404,
    urls.handler500,
)


def problem(reply, status, code):
    assert reply.status_code == status
    assert reply["Content-Type"] == "application/problem+json"
    body = orjson.loads(reply.content)
    assert {"type", "title", "status", "detail", "code"} <= body.keys()
    assert (body["status"], body["code"]) == (status, code)
    return body


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("bug", 500, "internal_error"), ("redis", 503, "unavailable"), ("database", 503, "unavailable")],
)
def test_failures_are_problems_and_tell_nothing(kind, status, code):
    body = problem(Client(raise_request_exception=False).get(f"/fails/{kind}"), status, code)
    assert "1/0" not in str(body)


@pytest.mark.urls(__name__)
def test_a_broken_page_is_a_problem_too():
    problem(Client(raise_request_exception=False).get("/broken"), 500, "internal_error")


@pytest.mark.parametrize("debug", [True, False])
def test_what_is_not_there(settings, debug):
    settings.DEBUG = debug
    for address in ("/nothing", "/api/nothing", "/indicators/", "/auth/token/", "/api/market/a/b/c"):
        problem(Client().get(address), 404, "not_found")


PERSON = {"accept": "text/html,application/xhtml+xml"}


def page(reply, status, text):
    assert (reply.status_code, reply["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert text in reply.content.decode()


def test_a_person_sees_pages_instead_of_problems():
    page(Client().get("/nothing", headers=PERSON), 404, "There is nothing here")
    strict = Client(enforce_csrf_checks=True)
    page(strict.post("/login", {"username": "a", "password": "b"}, headers=PERSON), 403, "form has expired")
    assert 'href="/login"' in strict.post("/login", headers=PERSON).content.decode()
    body = problem(strict.post("/login", {"username": "a"}), 403, "forbidden")
    assert "X-CSRFToken" in body["detail"]


def test_who_guesses_passwords_is_told_how_long_to_wait(settings):
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(2):
        reply = Client().post("/login", {"username": "eve", "password": "wrong"}, headers=PERSON)
    page(reply, 429, "wait 15 minutes")
    assert reply["Retry-After"] == "900"
    problem(Client().post("/login", {"username": "eve", "password": "wrong"}), 429, "rate_limited")


def signed_in(name="alice"):
    user = User.objects.create(username=name)
    access = tokens.issue(Login.objects.create(user=user))["access"]
    return {"authorization": f"Bearer {access}"}


def test_methods_and_media_types():
    headers = signed_in()
    problem(Client().get("/indicators/subscribe", headers=headers), 405, "method_not_allowed")
    problem(Client().post("/indicators/subscribe", {"a": 1}, headers=headers), 415, "unsupported_media_type")
    problem(
        Client().get("/indicators/catalogue", headers={**headers, "accept": "text/csv"}),
        406,
        "not_acceptable",
    )


def test_numbers_that_json_does_not_know_become_null():
    assert json_format.dumps({"a": float("nan"), "b": float("inf")}) == b'{"a":null,"b":null}'


def test_a_bucket_lets_so_many_a_minute_pass_however_they_come():
    """Threads hold for processes here: the bucket is one script in Redis."""
    passed = []
    threads = [
        threading.Thread(
            target=lambda: passed.extend(
                throttles.count_request("t", "alice", 50).accepted for _ in range(10)
            )
        )
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 50 <= sum(passed) <= 52  # and as many as a few milliseconds give back
    assert throttles.count_request("t", "alice", 50).wait_s > 0
    assert throttles.count_request("t", "bob", 50).accepted


def test_throttled_requests_say_when_to_come_back(settings):
    settings.REST_REQUESTS_PER_MINUTE = 2
    headers = signed_in()
    other = signed_in("bob")
    statuses = [Client().get("/indicators/catalogue", headers=headers) for _ in range(3)]
    assert [reply.status_code for reply in statuses] == [200, 200, 429]
    problem(statuses[-1], 429, "rate_limited")
    assert int(statuses[-1]["Retry-After"]) > 0
    assert Client().get("/indicators/catalogue", headers=other).status_code == 200
    settings.AUTH_REQUESTS_PER_MINUTE = 1
    for _ in range(2):
        # A forged address does not make a second client of one.
        reply = Client().post(
            "/auth/token", b"{}", content_type="application/json", headers={"x-forwarded-for": str(_)}
        )
    problem(reply, 429, "rate_limited")


def test_the_description_of_the_api_and_its_page():
    schema = Client().get("/api/schema", headers={"accept": "application/vnd.oai.openapi+json"}).json()
    assert schema["openapi"].startswith("3.1")
    assert {"/indicators/subscribe", "/auth/token", "/api/market/symbols"} <= schema["paths"].keys()
    page = Client().get("/api/docs")
    assert page.status_code == 200
    assert b"http://" not in page.content
    assert b"https://" not in page.content
    policy = page["Content-Security-Policy"]
    assert "'unsafe-inline'" in policy.split("script-src")[1].split(";")[0]
    policy = Client().get("/login")["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


def test_pages_are_for_those_who_are_signed_in():
    assert Client().get("/")["Location"].startswith("/login")
    client = Client()
    client.force_login(User.objects.create(username="alice"))
    assert client.get("/").status_code == 200


def test_health(redis, keys):
    assert Client().get("/healthz").status_code == 200
    reply = Client().get("/readyz")
    assert reply.status_code == 503
    assert reply.json() == {
        "status": "not ready",
        "redis": True,
        "database": True,
        "feed": False,
        "compute": False,
        "portfolio": False,
    }
    for kind in ("feed", "compute", "portfolio"):
        redis.zadd(keys.workers(kind), {"w": 10**14})
    assert Client().get("/readyz").json()["feed"] is False, "its past is not there yet"
    redis.set(keys.feed_marker, "1")
    assert Client().get("/readyz").status_code == 200


def test_counters_of_all_processes_are_added_up():
    from stocksblitz.observability import metrics

    ours, theirs = aggregation.ProcessMetrics(), aggregation.ProcessMetrics()
    metrics.cache_hits.labels("X", "1min", "RSI_14").inc(3)
    metrics.sockets.set(2)
    for each in (ours, theirs, ours):  # each process tells its own, and what it told before only once
        each.push()
    labels = (("indicator", "RSI_14"), ("symbol", "X"), ("timeframe", "1min"))
    found = aggregation.gathered()
    assert found[aggregation.Series("indicator_cache_hits_total", labels)] == 6
    assert found[aggregation.Series("stocksblitz_sockets", ())] == 4
    assert aggregation.totals()["indicator_cache_hits_total"] >= 6
    metrics.sockets.set(0)


class LosesAnswers:
    """A Redis client whose scripts run, but whose answers do not arrive."""

    def __init__(self, client):
        self.client = client

    def register_script(self, text):
        script = self.client.register_script(text)

        def run(**given):
            script(**given)
            raise RedisConnectionError("the answer was lost")

        return run


def test_a_push_whose_answer_was_lost_counts_once(monkeypatch):
    from stocksblitz.observability import metrics

    mine = aggregation.ProcessMetrics()
    mine.push()
    before = aggregation.counter("indicator_cleanup_runs_total")
    metrics.cleanup_runs.inc()
    client = LosesAnswers(aggregation.sync_client())
    monkeypatch.setattr(aggregation, "sync_client", lambda: client)
    with pytest.raises(RedisConnectionError, match="lost"):
        mine.push()
    monkeypatch.undo()
    mine.push()
    mine.push()
    assert aggregation.counter("indicator_cleanup_runs_total") == before + 1


def test_series_that_nobody_wants_are_dropped_and_their_sums_kept(monkeypatch):
    from stocksblitz.observability import metrics

    mine = aggregation.ProcessMetrics()
    for indicator in ("EMA_9", "EMA_10"):
        metrics.cache_misses.labels("Y", "1min", indicator).inc()
    mine.push()
    total = aggregation.totals()["indicator_cache_misses_total"]
    monkeypatch.setattr(aggregation, "UNUSED_MS", -1000)
    assert aggregation.drop({("Y", "1min", "EMA_9")}) >= 1
    left = {series.computation for series in aggregation.gathered()}
    assert ("Y", "1min", "EMA_9") in left
    assert ("Y", "1min", "EMA_10") not in left
    assert aggregation.totals()["indicator_cache_misses_total"] == total


def test_the_description_sums_up_every_operation():
    paths = orjson.loads(Client().get("/api/schema", headers={"accept": "application/json"}).content)["paths"]
    every = [operation for operations in paths.values() for operation in operations.values()]
    assert len(every) > 30
    assert all(len(operation["summary"]) > 0 for operation in every)
