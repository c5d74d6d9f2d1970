"""The life of a socket whatever happens in it: errors are answered, and the hub keeps nothing of what is gone."""

import asyncio

import orjson
import pytest
from channels.testing import WebsocketCommunicator

from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.auth import Identity
from stocksblitz.delivery.consumers import SocketConsumer
from stocksblitz.delivery.hub import Hub
from stocksblitz.delivery.limits import MessageRate
from tests.conftest import PATIENCE_S, aeventually


@pytest.fixture
async def hub(namespace):
    hub = Hub()
    await hub.start()
    yield hub
    await hub.close()


def consumer_on(hub):
    class Consumer(SocketConsumer):
        messages = wire.PORTFOLIO_MESSAGES

        async def _admit(self, ws_conn_id):
            self.hub, self.identity = hub, Identity(1, "alice", False, None, None, "token")
            self.rate = MessageRate(50)
            self.connection = self.new_connection("s", ws_conn_id)
            hub.register(self.connection)

        async def on_watch(self, connection, request):
            raise KeyError("a fault of ours")

        async def on_unwatch(self, connection, request):
            await asyncio.sleep(60)

    return Consumer


class Socket(WebsocketCommunicator):
    """One whose answers may take their time on a busy machine."""

    async def receive_output(self, timeout=PATIENCE_S):
        return await super().receive_output(PATIENCE_S)


def socket_on(hub):
    return Socket(consumer_on(hub).as_asgi(), "/ws/test")


async def test_a_fault_of_ours_is_answered_and_closes_nothing(hub):
    socket = socket_on(hub)
    await socket.connect()
    await socket.send_json_to({"type": "watch", "id": 7})
    answer = await socket.receive_json_from()
    assert (answer["type"], answer["id"], answer["code"], answer["retryable"]) == (
        "error",
        7,
        "unavailable",
        True,
    )
    await socket.send_json_to({"type": "heartbeat"})
    assert (await socket.receive_json_from())["type"] == "heartbeat_ack"
    await socket.disconnect()
    assert hub.registry.connections == {}


async def test_a_message_is_measured_in_bytes(hub, settings):
    settings.WS_MAX_MESSAGE = 100
    socket = socket_on(hub)
    await socket.connect()
    await socket.send_to(text_data='{"type":"heartbeat","id":"' + "é" * 60 + '"}')
    assert (await socket.receive_output())["code"] == 4513


async def test_a_session_that_is_far_behind_is_not_answered_more_until_it_reads(hub):
    """Under a server whose ``send`` waits for its connection: what it asks for waits, and closes nothing."""
    sent, reads = [], asyncio.Event()

    async def send(message):
        if message["type"] == "websocket.send" and not reads.is_set():
            await reads.wait()
        sent.append(message)

    class Talkative(consumer_on(hub)):
        async def on_watch(self, connection, request):
            connection.reply({"type": "error", "id": request.id, "message": "x" * 100_000})

    inbox = asyncio.Queue()
    socket = asyncio.create_task(Talkative.as_asgi()({"type": "websocket"}, inbox.get, send))
    inbox.put_nowait({"type": "websocket.connect"})
    for each in range(40):
        inbox.put_nowait({"type": "websocket.receive", "text": f'{{"type":"watch","id":{each}}}'})
    await aeventually(lambda: inbox.qsize() < 40)
    await asyncio.sleep(0.2)
    (connection,) = hub.registry.connections.values()
    assert inbox.qsize() > 30
    assert connection.closing is None
    assert connection.backlog < 900_000
    reads.set()
    await aeventually(lambda: len(sent) == 41)
    assert [orjson.loads(each["text"])["id"] for each in sent[1:]] == list(range(40))
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(asyncio.gather(socket, return_exceptions=True), PATIENCE_S)


async def test_a_server_that_cancels_the_application_leaves_nothing_in_the_hub(hub):
    socket = socket_on(hub)
    await socket.connect()
    await socket.send_json_to({"type": "unwatch"})
    await asyncio.sleep(0.05)
    assert len(hub.registry.connections) == 1
    socket.future.cancel()
    await asyncio.gather(socket.future, return_exceptions=True)
    assert hub.registry.connections == {}
