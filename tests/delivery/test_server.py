"""The uvicorn protocol against peers that do not read, and peers that are gone."""

import asyncio
import contextlib
import ctypes
import socket
import struct
import time

import pytest
import uvicorn

from stocksblitz.observability.metrics import REGISTRY
from stocksblitz.server.websocket import EXTENSION, PreframedProtocol
from tests.conftest import PATIENCE_S, aeventually, atakes_less

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSE_4008 = b"\x88\x0a\x0f\xa8too slow"
MUCH = 4_000_000
"""Bytes that no buffer holds."""
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # 1000, masked with nothing


class Quick(PreframedProtocol):
    """Waits less for a peer that should close, and counts the pings."""

    pings = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.close_timeout = 0.3

    def send_keepalive_ping(self):
        self.pings += 1
        super().send_keepalive_ping()


@contextlib.asynccontextmanager
async def serving(size=MUCH, **options):
    """Run a server that writes so many bytes; yield it, its port and the codes with which sockets ended."""
    codes = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].writer()(b"x" * size)
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


DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # classic BPF: return 0


def vanish(peer):
    """Have the kernel drop whatever arrives for the peer, as if its machine were gone."""
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(DROP_ALL))
    peer.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER


PINGS = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.5}


@pytest.mark.parametrize("size", [100, MUCH], ids=["little waits", "much waits"])
async def test_a_peer_whose_machine_is_gone_is_noticed(size):
    before = counted(1011)
    async with serving(size, **PINGS) as (server, port, codes):

        async def noticed():
            codes.clear()
            with socket.socket() as peer:
                await opened(peer, port)
                vanish(peer)
                began = time.monotonic()
                await aeventually(lambda: codes == [1011])
                return time.monotonic() - began

        await atakes_less(5, noticed)
        await aeventually(lambda: not server.server_state.connections)
    assert counted(1011) > before


@pytest.mark.parametrize("size", [100, 1_000_000, MUCH], ids=["in its kernel", "in both kernels", "blocked"])
async def test_a_peer_that_reads_nothing_is_not_taken_for_one_that_is_gone(size):
    """Many pings go unanswered; when the peer reads again it gets everything that was written, and the pings."""
    async with serving(size, **PINGS) as (server, port, codes):
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
            await opened(peer, port)
            (protocol,) = server.server_state.connections
            await aeventually(lambda: protocol.pings == 5 or codes)
            assert codes == []
            await asyncio.to_thread(read_all, peer, size)


def read_all(peer, size):
    """Read so many bytes of payload; return what came last."""
    peer.settimeout(PATIENCE_S)
    while size > 0:
        got = peer.recv(1_000_000)
        assert got, "the connection ended"
        size -= got.count(b"x")
    return got


async def test_a_peer_that_reads_again_finds_the_close_frame():
    async with serving(MUCH) as (server, port, codes):
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            await opened(peer, port)
            (protocol,) = server.server_state.connections
            await aeventually(lambda: protocol.blocked)
            protocol.finish(4008, "too slow")
            await aeventually(lambda: codes == [4008])
            await asyncio.sleep(1.0)  # longer than a peer that reads has for its answer
            got = await asyncio.to_thread(read_all, peer, MUCH)
            if not got.endswith(CLOSE_4008):
                got += await asyncio.to_thread(peer.recv, 1_000)
    assert got.endswith(CLOSE_4008)


async def test_a_peer_that_closes_and_does_not_read_holds_no_socket(peer):
    async with serving() as (server, port, codes):
        await opened(peer, port)
        peer.sendall(CLOSE)
        await aeventually(lambda: codes == [1000])
        await aeventually(lambda: not server.server_state.connections)
