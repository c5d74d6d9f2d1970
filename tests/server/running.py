"""A uvicorn server inside the test, and raw requests to it."""

import asyncio
import contextlib
import socket

import uvicorn

from stocksblitz.server.http_protocol import BoundedProtocol
from tests.conftest import aeventually


@contextlib.asynccontextmanager
async def serving(application, **options):
    """Serve the application with our HTTP protocol; yield the port."""
    config = uvicorn.Config(
        application,
        port=0,
        http=BoundedProtocol,
        lifespan="off",
        log_level="critical",
        proxy_headers=False,
        **options,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    await aeventually(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await asyncio.wait_for(running, 30)


def exchange(port, *parts, until=b"", timeout=20):
    """Send the parts as far as they are taken; return what came back until the end, or until these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as peer:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                peer.sendall(part)
        return received(peer, until)


def received(peer, until=b""):
    """Read until the other side ends the connection, or until these bytes have come."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(65_536):
            answer += part
            if until and until in answer:
                break
    return answer
