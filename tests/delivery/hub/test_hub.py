"""The hub over a real Redis: slow joins, sockets that leave meanwhile, junk, lost control messages."""

import asyncio

import orjson
import pytest
from channels.layers import get_channel_layer

from stocksblitz.delivery import control
from stocksblitz.delivery.hub import Hub
from tests.conftest import aeventually
from tests.delivery.frames import STREAM, frame, new_connection

IDS = {"RSI_14": "RSI_14"}


@pytest.fixture
async def hub(namespace, monkeypatch):
    monkeypatch.setattr("stocksblitz.delivery.hub.wiring.CHECK_S", 0.02)
    hub = Hub()
    await hub.start()
    yield hub
    await hub.close()


async def publish(hub, **message):
    await control.publish(control.ControlMessage(**message))


async def touch_all(sessions):
    return [True for _ in sessions]


def raw(seq, **options):
    """A frame as compute writes it."""
    made = frame(seq, **options)
    return orjson.dumps({**made.data, "prev": made.prev, "base": made.base})


async def test_a_stream_is_not_given_up_while_a_session_joins_it(hub, monkeypatch):
    monkeypatch.setattr("stocksblitz.delivery.hub.registry.IDLE_S", 0.0)
    connection, _ = new_connection()
    hub.register(connection)
    async with hub.opened(STREAM) as state:
        await asyncio.sleep(0.2)
        hub.enter(connection, STREAM, IDS)
    assert connection in state.connections
    hub.leave(connection, STREAM)
    await aeventually(lambda: STREAM not in hub.registry.streams)


async def test_a_socket_that_left_while_it_joined_enters_nothing(hub):
    connection, _ = new_connection()
    hub.register(connection)
    async with hub.opened(STREAM) as state:
        hub.unregister(connection)
        hub.enter(connection, STREAM, IDS)
    assert state.connections == []


async def test_waiting_for_values_leaves_nothing_behind(hub):
    async with hub.opened(STREAM) as state:
        await hub.values(state, {"RSI_14"}, 0.01)


JUNK = (b"poison", b"[]", b"null", b"\xff\xfe", b'{"action":"close","code":[]}', b'{"epoch":"a","seq":2}')


async def test_junk_ends_neither_the_checks_nor_the_stream(hub, aredis, keys, settings):
    layer = settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"]
    connection, transport = new_connection()
    hub.register(connection)
    async with hub.opened(STREAM):
        hub.enter(connection, STREAM, IDS)
    await aredis.set(keys.stream(*STREAM, "pos"), b"poison")
    for junk in JUNK:
        await aredis.rpush(keys.stream(*STREAM, "log"), junk)
        await aredis.publish(keys.updates(*STREAM), junk)
        await aredis.publish(f"{layer}__group__{control.group()}", junk)
        await get_channel_layer().group_send(control.group(), {"type": "control", "message": junk})
    await aredis.publish(keys.updates(*STREAM), raw(1))
    await aredis.publish(keys.updates(*STREAM), raw(5))  # a gap, and a log full of junk
    await aeventually(lambda: [m.get("seq") for m in transport.messages][-1:] == [5])
    await aredis.set(keys.stream(*STREAM, "frame"), raw(9))
    await aredis.set(keys.stream(*STREAM, "pos"), b"a|9|0|")
    await aeventually(lambda: [m.get("seq") for m in transport.messages][-1:] == [9])
    assert connection.closing is None


async def test_keys_of_another_type_cost_their_stream_alone(hub, aredis, keys):
    other = ("TCS", "1min")
    connection, transport = new_connection()
    hub.register(connection)
    for stream in (other, STREAM):
        async with hub.opened(stream):
            hub.enter(connection, stream, IDS)
    for part in ("pos", "frame", "log"):
        await aredis.hset(keys.stream(*other, part), "x", "y")
    await aredis.set(keys.stream(*STREAM, "frame"), raw(9))
    await aredis.set(keys.stream(*STREAM, "pos"), b"a|9|0|")
    await aeventually(lambda: [m.get("seq") for m in transport.messages] == [9])


async def test_a_frame_with_a_number_that_was_never_given_out_is_passed_over(hub, aredis, keys):
    connection, transport = new_connection()
    hub.register(connection)
    async with hub.opened(STREAM):
        hub.enter(connection, STREAM, IDS)
    await aredis.publish(keys.updates(*STREAM), raw(1))
    await aredis.publish(keys.updates(*STREAM), raw(2**50))
    await aeventually(lambda: [m.get("seq") for m in transport.messages][-1:] == [2**50])
    seq = 2

    async def goes_on():
        nonlocal seq
        seq += 1
        await aredis.set(keys.stream(*STREAM, "frame"), raw(seq))
        await aredis.set(keys.stream(*STREAM, "pos"), f"a|{seq}|0|")
        await aredis.publish(keys.updates(*STREAM), raw(seq))
        await asyncio.sleep(0.02)
        return transport.messages[-1]["seq"] == seq

    await aeventually(goes_on)


async def test_a_user_a_login_or_a_session_is_closed_whatever_its_sockets_are_for(hub):
    here, elsewhere, other = (
        new_connection("here")[0],
        new_connection("elsewhere")[0],
        new_connection("other")[0],
    )
    here.login_id, elsewhere.login_id, other.login_id = "a", "b", "b"
    for connection in (here, elsewhere, other):
        hub.register(connection)
    await publish(hub, action="close", user_id=2)
    await publish(hub, action="close", user_id=1, session_id="other")
    await aeventually(lambda: other.closing == 4508)
    await publish(hub, action="close", user_id=1, login_id="a")
    await aeventually(lambda: here.closing == 4508)
    assert elsewhere.closing is None
    await publish(hub, action="close", user_id=1)
    await aeventually(lambda: elsewhere.closing == 4508)


async def test_a_session_is_read_again_until_it_works(hub):
    calls = []

    async def resync(_, connection):
        calls.append(connection)
        if len(calls) == 1:
            raise OSError("the database is away")

    connection, _ = new_connection()
    hub.set_session_store(touch_all, resync)
    hub.register(connection, stored=True)
    await publish(hub, action="resync", session_key=connection.session_key)
    await aeventually(lambda: calls == [connection, connection])


async def test_every_session_is_read_again_after_a_lost_connection_to_redis(hub, aredis):
    calls = []

    async def resync(_, connection):
        calls.append(connection)

    stored, other = new_connection("stored")[0], new_connection("other")[0]
    hub.set_session_store(touch_all, resync)
    hub.register(stored, stored=True)
    hub.register(other)
    await aredis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await aeventually(lambda: calls)
    assert set(calls) == {stored}
    await publish(hub, action="close", session_key=stored.session_key)
    await aeventually(lambda: stored.closing == 4508)


async def test_a_session_that_is_gone_although_its_socket_is_open_is_read_again(hub, settings):
    settings.SESSION_TTL = 1
    calls = []

    async def touch(members):
        return [False for _ in members]

    async def resync(_, connection):
        calls.append(connection)

    connection, _ = new_connection()
    hub.set_session_store(touch, resync)
    hub.register(connection, stored=True)
    await asyncio.sleep(0.11)
    connection.note_sign_of_life()
    await aeventually(lambda: connection in calls)
