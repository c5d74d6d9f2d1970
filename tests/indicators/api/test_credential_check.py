"""A socket lives no longer than the credential it was opened with: an API key, a browser session."""

from datetime import timedelta

import orjson
import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from stocksblitz.delivery.hub import credential_check
from stocksblitz.identity import revocation, tokens
from stocksblitz.identity.models import ApiKey, Login

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = [(b"host", b"testserver:8000"), (b"origin", b"http://testserver:8000")]


def in_thread(call):
    return database_sync_to_async(call, thread_sensitive=False)


@pytest.fixture
async def opened(alice, aredis):
    """Opens sockets; they and the hub are closed at the end. A test that also wants `often` names it first."""
    from stocksblitz.asgi import application
    from stocksblitz.delivery.hub import get_hub

    sockets = []

    async def make(headers=(), query=""):
        socket = WebsocketCommunicator(application, f"/ws/indicators{query}", list(headers))
        sockets.append(socket)
        assert (await socket.connect(timeout=30))[0]
        hello = orjson.loads(await socket.receive_from(timeout=30))
        assert hello["type"] == "connected"
        socket.hello = hello
        return socket

    hub = await get_hub()
    yield make
    for socket in sockets:
        await socket.disconnect()
    await hub.close()


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(credential_check, "CHECK_S", 0.1)


def key_of(user, **options):
    row, text = ApiKey.objects.create_key(name="bot", user=user, **options)
    return row, [(b"authorization", f"Api-Key {text}".encode())]


def signed_in(user):
    browser = Client()
    browser.force_login(user)
    return browser, [*ORIGIN, (b"cookie", f"sessionid={browser.cookies['sessionid'].value}".encode())]


async def lives(socket):
    await socket.send_json_to({"type": "heartbeat"})
    return orjson.loads(await socket.receive_from(timeout=30))["type"] == "heartbeat_ack"


async def closed(socket):
    message = await socket.receive_output(timeout=30)
    return message["type"] == "websocket.close" and message["code"]


def revoke(key):
    key.revoked = True
    key.save()


@pytest.mark.parametrize("end", [revoke, lambda key: key.delete()], ids=["revoked", "deleted"])
async def test_a_key_that_ends_closes_what_it_opened_at_once(opened, alice, end):
    key, headers = await in_thread(key_of)(alice)
    _, others = await in_thread(key_of)(alice)
    socket, other = await opened(headers), await opened(others)
    await in_thread(end)(key)
    assert await closed(socket) == 4501
    assert await lives(other)


async def test_a_key_that_is_revoked_behind_our_back_closes_too(often, opened, alice):
    key, headers = await in_thread(key_of)(alice)
    socket = await opened(headers)
    assert await lives(socket)
    await in_thread(ApiKey.objects.filter(pk=key.pk).update)(revoked=True)
    assert await closed(socket) == 4501


async def test_a_key_that_expires_closes_what_it_opened(opened, alice):
    soon = timezone.now() + timedelta(seconds=2)
    _, headers = await in_thread(key_of)(alice, expiry_date=soon)
    socket = await opened(headers)
    assert socket.hello["expires_at"]
    assert await closed(socket) == 4501


async def test_a_ticket_ends_with_the_key_that_bought_it(opened, alice):
    key, headers = await in_thread(key_of)(alice)

    def buy():
        return (
            Client(headers={"authorization": headers[0][1].decode()}).post("/auth/ws-ticket").json()["ticket"]
        )

    socket = await opened(query=f"?ticket={await in_thread(buy)()}")
    await in_thread(revoke)(key)
    assert await closed(socket) == 4501


@pytest.mark.parametrize("by_ticket", [False, True])
@pytest.mark.parametrize("end", ["expired", "deleted", "flushed"])
async def test_a_browser_session_that_ends_closes_what_it_opened(often, opened, alice, end, by_ticket):
    browser, headers = await in_thread(signed_in)(alice)
    _, others = await in_thread(signed_in)(alice)
    name = browser.cookies["sessionid"].value
    if by_ticket:
        reply = await in_thread(browser.post)("/auth/ws-ticket")
        socket = await opened(query=f"?ticket={reply.json()['ticket']}")
    else:
        socket = await opened(headers)
    other = await opened(others)
    row = Session.objects.filter(session_key=name)
    if end == "expired":
        assert await in_thread(row.update)(expire_date=timezone.now() - timedelta(seconds=1)) == 1
    elif end == "deleted":
        await in_thread(row.delete)()
    else:
        await in_thread(browser.session.flush)()
    assert await closed(socket) == 4501
    assert await lives(other)


async def test_a_newer_token_takes_the_place_of_the_key(often, opened, alice):
    key, headers = await in_thread(key_of)(alice)
    socket = await opened(headers)
    token = await in_thread(lambda: tokens.issue(Login.objects.create(user=alice))["access"])()
    await socket.send_json_to({"type": "authenticate", "token": token})
    assert orjson.loads(await socket.receive_from(timeout=30))["type"] == "authenticated"
    await in_thread(revoke)(key)
    assert await socket.receive_nothing(0.5)
    assert await lives(socket)


async def test_a_token_of_another_login_ends_with_its_own(often, opened, alice):
    first, second = [await in_thread(Login.objects.create)(user=alice) for _ in range(2)]
    socket = await opened(query=f"?token={await in_thread(lambda: tokens.issue(first)['access'])()}")
    newer = await in_thread(lambda: tokens.issue(second)["access"])()
    await socket.send_json_to({"type": "authenticate", "token": newer})
    assert orjson.loads(await socket.receive_from(timeout=10))["type"] == "authenticated"
    assert await socket.receive_nothing(0.5)
    await in_thread(revocation.revoke_login)(second)
    assert await closed(socket) == 4501
