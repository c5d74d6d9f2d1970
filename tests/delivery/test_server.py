"""Our uvicorn protocol against peers that do not read."""

import asyncio
import contextlib
import socket
import time

import pytest
import uvicorn

from stocksblitz.observability.metrics import REGISTRY
from stocksblitz.server.websocket import EXTENSION, PreframedProtocol
from tests.conftest import aeventually, atakes_less

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # 1000, masked with nothing


class Quick(PreframedProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.close_timeout = 0.3


@contextlib.asynccontextmanager
async def serving(**options):
    """A server whose application says more than any buffer holds; yields it, its port and the codes it ended with."""
    codes = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].writer()(b"x" * 20_000_000)
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        codes.append(message["code"])

    config = uvicorn.Config(application, port=0, ws=Quick, lifespan="off", log_level="critical", **options)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    running = asyncio.create_task(server.serve())
    await aeventually(lambda: server.started)
    yield server, server.servers[0].sockets[0].getsockname()[1], codes
    server.should_exit = True
    await asyncio.wait_for(running, 30)


def counted(code):
    return REGISTRY.get_sample_value("stocksblitz_socket_closes_total", {"code": str(code)}) or 0


@pytest.fixture
def peer():
    with socket.socket() as peer:
        yield peer


async def opened(peer, port):
    await asyncio.to_thread(peer.connect, ("127.0.0.1", port))
    peer.sendall(HANDSHAKE)
    await asyncio.to_thread(peer.recv, 1_000)


async def test_a_peer_that_is_gone_is_noticed_although_much_waits_for_it(monkeypatch):
    monkeypatch.setattr(PreframedProtocol, "_answers", lambda _: False)
    before = counted(1011)
    async with serving(ws_ping_interval=0.2, ws_ping_timeout=0.2) as (server, port, codes):

        async def noticed():
            codes.clear()
            with socket.socket() as peer:
                await opened(peer, port)
                began = time.monotonic()
                await aeventually(lambda: codes == [1011])
                return time.monotonic() - began

        await atakes_less(2, noticed)
        await aeventually(lambda: not server.server_state.connections)
    assert counted(1011) > before


async def test_a_peer_that_closes_and_does_not_read_holds_no_socket(peer):
    async with serving() as (server, port, codes):
        await opened(peer, port)
        peer.sendall(CLOSE)
        await aeventually(lambda: codes == [1000])
        await aeventually(lambda: not server.server_state.connections)
