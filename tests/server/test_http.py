"""The Django application over ASGI: bodies, and the threads that serve requests."""

import asyncio
import threading
import time

import httpx
import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path

from stocksblitz import urls
from stocksblitz.server import http, places
from stocksblitz.server.proxies import behind_proxies
from tests.conftest import aeventually
from tests.server.running import serving

pytestmark = pytest.mark.django_db(transaction=True)

release = threading.Event()
running: list[object] = []


def waiting(request):
    release.wait(30)
    return HttpResponse(b"done")


def waiting_aside(request):
    with places.waiting():
        return waiting(request)


def counting(request):
    running.append(request)
    count = len(running)
    time.sleep(0.01)  # so that others would begin meanwhile
    running.remove(request)
    return HttpResponse(str(count))


def who(request):
    return HttpResponse(f"{request.META['REMOTE_ADDR']} {request.scheme}")


urlpatterns = [
    path("waiting", waiting),
    path("waiting-aside", waiting_aside),
    path("running", counting),
    path("who", who),
    *urls.urlpatterns,
]


def client(port):
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)


async def test_a_body_in_chunks_is_a_body_too():
    await asyncio.to_thread(User.objects.create_user, "alice", password="pw-of-a-test")

    async def parts():
        yield b'{"username":"alice",'
        yield b'"password":"pw-of-a-test"}'

    async with serving(http.ThreadedHandler()) as port, client(port) as rest:
        reply = await rest.post("/auth/token", content=parts(), headers={"Content-Type": "application/json"})
        assert reply.status_code == 200
        form = [b"username=alice&password=", b"pw-of-a-test"]

        async def form_parts():
            for part in form:
                yield part

        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = await rest.post("/login", content=form_parts(), headers=kind)
        assert reply.status_code == 403, "only the token of the page is missing"


async def test_a_body_is_bounded_under_every_server(settings):
    """Daphne has no protocol of ours: the application itself stops reading."""
    settings.REST_MAX_BODY = 1000
    sent, reads = [], []

    async def receive():
        reads.append(1)
        return {"type": "http.request", "body": b"a" * 400, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/nowhere", "headers": [], "query_string": b""}
    await http.ThreadedHandler()(scope, receive, send)
    assert (sent[0]["status"], len(reads)) == (413, 3)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("route", sorted(http.PROBED))
async def test_health_is_told_however_many_requests_wait(monkeypatch, route):
    monkeypatch.setattr(http, "WAITING", 3)
    release.clear()
    async with serving(http.ThreadedHandler()) as port, client(port) as rest:
        others = [asyncio.create_task(rest.get("/waiting")) for _ in range(5)]
        try:
            await aeventually(lambda: sum(t.name.startswith("http_") for t in threading.enumerate()) >= 3)
            assert (await rest.get(route)).status_code in (200, 503)
            assert not any(task.done() for task in others)
        finally:
            release.set()
        assert [(await task).text for task in others] == ["done"] * 5


@pytest.mark.urls(__name__)
async def test_a_request_that_waits_gives_its_place_to_another(monkeypatch):
    monkeypatch.setattr(http, "WORKING", 1)
    release.clear()
    async with serving(http.ThreadedHandler()) as port, client(port) as rest:
        first = asyncio.create_task(rest.get("/waiting-aside"))
        try:
            assert (await rest.get("/who")).status_code == 200
            assert not first.done()
        finally:
            release.set()
        assert (await first).text == "done"


@pytest.mark.urls(__name__)
async def test_few_requests_run_at_the_same_time(monkeypatch):
    monkeypatch.setattr(http, "WORKING", 3)
    running.clear()
    async with serving(http.ThreadedHandler()) as port, client(port) as rest:
        replies = await asyncio.gather(*(rest.get("/running") for _ in range(20)))
    assert max(int(reply.text) for reply in replies) <= 3


PROXIES = [
    ([], "127.0.0.1 http"),
    (["10.0.0.0/8"], "127.0.0.1 http"),
    (["127.0.0.1/32"], "10.0.0.7 https"),
    (["127.0.0.0/8", "10.0.0.0/8"], "203.0.113.9 https"),
    (["127.0.0.0/8", "10.0.0.0/8", "203.0.113.0/24"], "198.51.100.1 https"),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("trusted", "expected"), PROXIES)
async def test_only_configured_proxies_say_who_the_client_is(settings, trusted, expected):
    settings.TRUSTED_PROXIES = trusted
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.0.0.7", "X-Forwarded-Proto": "https"}
    spoofed = {"Forwarded": "for=192.0.2.1", "X-Real-IP": "192.0.2.1"}
    application = behind_proxies(http.ThreadedHandler())
    async with serving(application) as port, client(port) as rest:
        assert (await rest.get("/who", headers={**forwarded, **spoofed})).text == expected


async def test_a_forged_address_is_no_second_client(settings):
    settings.AUTH_REQUESTS_PER_MINUTE = 2
    settings.AXES_FAILURE_LIMIT = 3
    application = behind_proxies(http.ThreadedHandler())
    async with serving(application) as port, client(port) as rest:
        forged = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(4)]
        asked = [
            await rest.post("/auth/token/refresh", json={"refresh": "junk"}, headers=headers)
            for headers in forged
        ]
        assert [reply.status_code for reply in asked] == [401, 401, 429, 429]
        page = await rest.get("/login")
        form = {"username": "eve", "password": "wrong", "csrfmiddlewaretoken": page.cookies["csrftoken"]}
        tried = [await rest.post("/login", data=form, headers=headers) for headers in forged]
        assert [reply.status_code for reply in tried] == [200, 200, 429, 429]
