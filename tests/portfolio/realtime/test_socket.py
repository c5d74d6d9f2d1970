"""/ws/portfolio: who may watch what, snapshot then updates, and what an end of access does."""

from datetime import timedelta
from decimal import Decimal

import orjson
import pytest
from channels.db import database_sync_to_async as in_thread
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.utils import timezone

from portfolio.margin.fx import Graph
from portfolio.margin.margin import value
from portfolio.margin.snapshot import snapshot
from portfolio.margin.types import MarginAccount, MarketPrices, Rules
from portfolio.models import Account, LedgerEntry
from portfolio.realtime.watchers import get_watchers
from portfolio.worker.snapshot_writer import SnapshotWriter
from stocksblitz.identity import revocation, tickets
from tests.conftest import PATIENCE_S, aeventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def connect(real, people):
    """Open a socket as a user; every socket and the hub are closed at the end."""
    from stocksblitz.asgi import application
    from stocksblitz.delivery.hub import get_hub

    opened = []

    async def make(name):
        user = await in_thread(User.objects.get)(username=name)
        ticket = await in_thread(tickets.issue)(tickets.Ticket(user.pk, None, None))
        socket = WebsocketCommunicator(application, f"/ws/portfolio?ticket={ticket}")
        opened.append(socket)
        assert (await socket.connect(timeout=PATIENCE_S))[0]
        assert (await receive(socket))["type"] == "connected"
        return socket

    yield make
    for socket in opened:
        await socket.disconnect()
    await (await get_hub()).close()


@pytest.fixture
def account(account):
    """Make an account from a coroutine; returns its key."""
    return in_thread(account)


async def receive(socket, timeout=PATIENCE_S):
    return orjson.loads(await socket.receive_from(timeout=timeout))


async def ask(socket, **message):
    await socket.send_to(text_data=orjson.dumps(message).decode())
    return await receive(socket)


def snapshot_of(account, epoch, version, equity="1.00"):
    """The JSON of an account without positions, as an engine writes it."""
    holdings = MarginAccount(Rules("USD"), Decimal(equity))
    market = MarketPrices({}, Graph(()))
    stamp = {"epoch": epoch, "version": version, "ts": 1, "source": "external"}
    shown = snapshot(account, holdings, value(holdings, market), market, **stamp)
    return orjson.dumps({**stamp, **shown})


async def write(aredis, keys, account, epoch, version, equity="1.00"):
    from stocksblitz.redis.client import current_keys as names

    writer = SnapshotWriter(aredis, names())
    refused = await writer.write([account], [snapshot_of(account, epoch, version, equity)])
    await writer.announce([account])
    return refused


async def test_snapshot_then_every_newer_update_and_none_that_is_older(connect, account, aredis, keys):
    key = await account()
    await write(aredis, keys, key, 5, 10, "100.00")
    socket = await connect("alice")
    first = await ask(socket, type="watch", accounts=[key])
    assert (first["type"], first["account"], first["version"], first["equity"]) == (
        "portfolio_snapshot",
        key,
        10,
        "100.00",
    )
    assert not await write(aredis, keys, key, 5, 11, "101.00")
    update = await receive(socket)
    assert (update["type"], update["version"], update["equity"]) == ("portfolio_update", 11, "101.00")
    assert await write(aredis, keys, key, 4, 99, "0.00") == [key]  # an engine that lost its lease
    assert await write(aredis, keys, key, 5, 11, "0.00") == [key]
    assert await socket.receive_nothing(0.3)
    await write(aredis, keys, key, 6, 1, "102.00")
    assert (await receive(socket))["equity"] == "102.00"
    assert (await ask(socket, type="unwatch", id=3, accounts=[key])) == {
        "type": "unwatched",
        "id": 3,
        "accounts": [],
    }
    await write(aredis, keys, key, 6, 2, "103.00")
    assert await socket.receive_nothing(0.3)


async def test_an_account_without_a_snapshot_is_reckoned_once(connect, account, instruments):
    key = await account(balance="123.45")
    socket = await connect("alice")
    first = await ask(socket, type="watch", accounts=[key])
    assert (first["type"], first["balance"], first["version"]) == ("portfolio_snapshot", "123.45", 0)


async def test_a_lost_announcement_is_made_up_for(connect, account, aredis, keys):
    from stocksblitz.redis.client import current_keys as names

    key = await account()
    await write(aredis, keys, key, 5, 10)
    socket = await connect("alice")
    await ask(socket, type="watch", accounts=[key])
    await aredis.set(names().snapshot(key), snapshot_of(key, 5, 11, "7.00"))
    assert (await receive(socket, 4))["equity"] == "7.00"


async def test_only_the_owner_and_staff_may_watch(connect, account, aredis, keys):
    key, other = await account("live:1"), await account("demo:1", owner="bob")
    await write(aredis, keys, key, 5, 10)
    bob = await connect("bob")
    for names in ([key], [other, key], ["demo:2"], ["live:1\n"], ["*"]):
        reply = await ask(bob, type="watch", accounts=names)
        assert (reply["type"], reply["code"]) == ("error", "not_found")
    await write(aredis, keys, key, 5, 11)
    assert await bob.receive_nothing(0.3)
    staff = await connect("admin")
    assert (await ask(staff, type="watch", accounts=[key]))["type"] == "portfolio_snapshot"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "watch"}, "invalid_message"),
        ({"type": "watch", "accounts": []}, "invalid_message"),
        ({"type": "watch", "accounts": [1]}, "invalid_message"),
        ({"type": "watch", "accounts": [f"live:{n}" for n in range(200)]}, "limit_exceeded"),
        ({"type": "watch", "accounts": ["live:1"], "x": 1}, "invalid_message"),
        ({"type": "subscribe"}, "unknown_type"),
    ],
)
async def test_a_wrong_message_gets_an_error_and_the_socket_stays(connect, message, code):
    socket = await connect("alice")
    assert (await ask(socket, **message))["code"] == code
    assert (await ask(socket, type="heartbeat"))["type"] == "heartbeat_ack"
    assert (await ask(socket, type="ping"))["type"] == "pong"


async def test_margin_events_reach_those_who_watch(connect, account, aredis, price, instruments, rest):
    from portfolio.services.accounts import book_position
    from portfolio.services.margin_enforcement import enforce

    key = await account(balance="1000")
    price("EURUSD", "1.1")
    socket = await connect("alice")
    await ask(socket, type="watch", accounts=[key])

    def breach():
        book_position(key=key, symbol="EURUSD", side="buy", quantity=Decimal(1), price=Decimal("1.109"))
        return enforce(key)

    assert await in_thread(breach)()
    kinds = [(await receive(socket))["kind"] for _ in range(2)]
    assert kinds == ["stop_out", "position_closed"]


async def test_an_event_whose_notification_was_lost_is_told_once(
    connect, account, price, instruments, monkeypatch
):
    from portfolio.models import Account, MarginEvent
    from portfolio.services.announcements import announce_event

    def happen(n, *, lost):
        of = Account.objects.get(key=key)
        event = MarginEvent.objects.create(
            account=of, kind="restored", reference=f"r{n}", text=f"{n}", inputs={}
        )
        if not lost:
            announce_event(event)

    key = await account()
    await in_thread(happen)(0, lost=True)
    before = timezone.now() - timedelta(seconds=60)
    await MarginEvent.objects.aupdate(created_at=before)
    socket = await connect("alice")
    await ask(socket, type="watch", accounts=[key])
    for n in range(1, 5):
        await in_thread(happen)(n, lost=n % 2 == 1)
    told = [(await receive(socket, 6))["text"] for _ in range(4)]
    assert sorted(told) == ["1", "2", "3", "4"]
    assert await socket.receive_nothing(4.5)


@pytest.mark.parametrize("way", ["owner", "demoted", "deleted", "deactivated"])
async def test_what_a_user_may_no_longer_see_is_sent_no_more(connect, account, aredis, keys, people, way):
    """The changes send no signal: the check finds them."""
    key = await account()
    await write(aredis, keys, key, 5, 10)
    socket = await connect("admin" if way == "demoted" else "alice")
    await ask(socket, type="watch", accounts=[key])

    def change():
        match way:
            case "owner":
                Account.objects.update(owner=people["bob"])
            case "demoted":
                User.objects.filter(username="admin").update(is_staff=False)
            case "deleted":
                LedgerEntry.objects.all().delete()
                Account.objects.all().delete()
                Account.objects.create(key=key, owner=people["bob"], currency="USD")
            case "deactivated":
                User.objects.filter(username="alice").update(is_active=False)

    await in_thread(change)()
    if way == "deactivated":
        closed = await socket.receive_output(timeout=PATIENCE_S)
        while closed["type"] != "websocket.close":
            closed = await socket.receive_output(timeout=PATIENCE_S)
        assert closed["code"] == 4508
        return
    gone = await receive(socket)
    assert (gone["type"], gone["id"], gone["code"]) == ("error", None, "not_found")
    await write(aredis, keys, key, 5, 11)
    assert await socket.receive_nothing(0.3)
    assert (await ask(socket, type="watch", accounts=[key]))["code"] == "not_found"


@pytest.mark.parametrize(
    "junk", [b"junk", b"\xff\xfe", b"{}", b'{"epoch":9,"version":9,junk', b'{"epoch":9,"version":9}']
)
async def test_junk_in_a_snapshot_is_sent_to_nobody(connect, account, aredis, keys, junk):
    key = await account(balance="123.45")
    await write(aredis, keys, key, 5, 10)
    before = await connect("alice")
    await ask(before, type="watch", accounts=[key])
    await aredis.set(keys.snapshot(key), junk)
    await SnapshotWriter(aredis, keys).announce([key])
    after = await connect("alice")
    assert (await ask(after, type="watch", accounts=[key]))["balance"] == "123.45"
    assert await before.receive_nothing(0.3)
    await aredis.delete(keys.snapshot(key))
    await write(aredis, keys, key, 5, 12, "7.00")
    assert (await receive(before))["equity"] == "7.00"


async def test_sockets_close_when_access_ends(connect, account, people):
    alice, bob = await connect("alice"), await connect("bob")
    await in_thread(revocation.revoke_user)(people["alice"].pk)
    closed = await alice.receive_output(timeout=PATIENCE_S)
    assert (closed["type"], closed["code"]) == ("websocket.close", 4508)
    assert (await ask(bob, type="heartbeat"))["type"] == "heartbeat_ack"


async def test_a_socket_that_is_gone_watches_nothing(connect, account, aredis, keys):
    from stocksblitz.delivery.hub import get_hub

    key = await account()
    await write(aredis, keys, key, 5, 10)
    socket = await connect("alice")
    await ask(socket, type="watch", accounts=[key])
    watchers = await get_watchers(await get_hub())
    assert not watchers.is_empty
    await socket.disconnect()
    await aeventually(lambda: watchers.is_empty)
