"""The hub over a real Redis: joins that take long, sockets that leave meanwhile, poison, lost orders."""

import asyncio

import orjson
import pytest

from stocksblitz.delivery import control
from stocksblitz.delivery.hub import Hub
from tests.conftest import aeventually
from tests.delivery.frames import STREAM, frame, new_client

IDS = {"RSI_14": "RSI_14"}


@pytest.fixture
async def hub(namespace, monkeypatch):
    monkeypatch.setattr("stocksblitz.delivery.hub.CHECK_S", 0.02)
    hub = Hub()
    await hub.start()
    yield hub
    await hub.close()


async def listening(hub):
    """Wait until orders reach the hub."""
    probe, _ = new_client("probe")
    hub.register(probe)

    async def closed():
        await control.announce("close", probe.member)
        return probe.closing

    await aeventually(closed)
    hub.unregister(probe)


def raw(seq, **options):
    """A frame as compute writes it."""
    made = frame(seq, **options)
    return orjson.dumps({**made.data, "prev": made.prev, "base": made.base})


async def test_a_stream_is_not_given_up_while_a_session_joins_it(hub, monkeypatch):
    monkeypatch.setattr("stocksblitz.delivery.hub.IDLE_S", 0.0)
    client, _ = new_client()
    hub.register(client)
    async with hub.opened(STREAM) as state:
        await asyncio.sleep(0.2)
        hub.enter(client, STREAM, IDS)
    assert client in state.clients
    hub.leave(client, STREAM)
    await aeventually(lambda: STREAM not in [each.stream for each in hub.states])


async def test_a_socket_that_left_while_it_joined_enters_nothing(hub):
    client, _ = new_client()
    hub.register(client)
    async with hub.opened(STREAM) as state:
        hub.unregister(client)
        hub.enter(client, STREAM, IDS)
    assert state.clients == []


async def test_waiting_for_values_leaves_nothing_behind(hub):
    async with hub.opened(STREAM) as state:
        await hub.values(state, {"RSI_14"}, 0.01)
    assert not state.waiters


async def test_poison_ends_neither_the_watch_nor_the_stream(hub, aredis, keys):
    client, outlet = new_client()
    hub.register(client)
    async with hub.opened(STREAM):
        hub.enter(client, STREAM, IDS)
    await aredis.set(keys.stream(*STREAM, "pos"), b"poison")
    await aredis.rpush(keys.stream(*STREAM, "log"), b"poison")
    await aredis.publish(keys.updates(*STREAM), b"poison")
    await aredis.publish(keys.updates(*STREAM), raw(1))
    await aredis.publish(keys.updates(*STREAM), raw(5))  # a gap, and a log that cannot be read
    await asyncio.sleep(0.1)
    await aredis.delete(keys.stream(*STREAM, "log"))
    await aredis.set(keys.stream(*STREAM, "frame"), raw(5))
    await aredis.set(keys.stream(*STREAM, "pos"), b"a|5|0|")
    await aeventually(lambda: [m.get("seq") for m in outlet.messages][-1:] == [5])


async def test_an_order_to_read_a_session_anew_is_carried_out_until_it_works(hub):
    calls = []

    async def resync(_, client):
        calls.append(client)
        if len(calls) == 1:
            raise OSError("the database is away")

    client, _ = new_client()
    hub.resync = resync
    await listening(hub)
    hub.register(client, stored=True)
    await control.announce("resync", client.member)
    await aeventually(lambda: calls == [client, client])


async def test_orders_may_be_lost_with_the_connection_so_every_session_is_read_anew(hub, aredis):
    calls = []

    async def resync(_, client):
        calls.append(client)

    stored, other = new_client("stored")[0], new_client("other")[0]
    hub.resync = resync
    await listening(hub)
    hub.register(stored, stored=True)
    hub.register(other)
    await aredis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await aeventually(lambda: calls)
    assert set(calls) == {stored}
    await control.announce("close", stored.member)
    await aeventually(lambda: stored.closing == 4508)


async def test_a_session_that_is_gone_although_its_socket_is_here_is_read_anew(hub, settings):
    settings.SESSION_TTL = 1
    calls = []

    async def touch(members):
        return [False for _ in members]

    async def resync(_, client):
        calls.append(client)

    client, _ = new_client()
    hub.touch, hub.resync = touch, resync
    hub.register(client, stored=True)
    await asyncio.sleep(0.11)
    client.alive()
    await aeventually(lambda: client in calls)
