"""The two ways out to one socket, behind one interface: frames made once and written as they are, or ASGI ``send``."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from stocksblitz.server import EXTENSION, PreframedProtocol

ASGI_BACKLOG = 256
"""Messages that may wait for a server's ``send`` before the session counts as slow."""


class Outlet(Protocol):
    """``write`` takes framed messages; ``blocked`` says that the socket is full, ``on_resume`` is called when not."""

    on_resume: Callable[[], None]
    on_alive: Callable[[], None]
    pongs: bool
    """Whether a pong is reported; where it is not, the server's own pings close a socket that is dead."""

    @property
    def blocked(self) -> bool: ...

    def write(self, framed: list[bytes]) -> None: ...

    def finish(self, code: int, reason: str) -> None: ...


class RawOutlet:
    """Writes joined frames straight to the transport of our own uvicorn protocol."""

    pongs = True

    def __init__(self, protocol: PreframedProtocol) -> None:
        self._protocol = protocol

    @property
    def blocked(self) -> bool:
        return self._protocol.paused

    @property
    def on_resume(self) -> Callable[[], None]:
        return self._protocol.on_resume

    @on_resume.setter
    def on_resume(self, call: Callable[[], None]) -> None:
        self._protocol.on_resume = call

    @property
    def on_alive(self) -> Callable[[], None]:
        return self._protocol.on_alive

    @on_alive.setter
    def on_alive(self, call: Callable[[], None]) -> None:
        self._protocol.on_alive = call

    def write(self, framed: list[bytes]) -> None:
        self._protocol.write(framed[0] if len(framed) == 1 else b"".join(framed))

    def finish(self, code: int, reason: str) -> None:
        self._protocol.finish(code, reason)


def payload_of(framed: bytes) -> str:
    """The text inside one unmasked frame."""
    size = framed[1]
    return framed[2 if size < 126 else 4 if size == 126 else 10 :].decode()


class AsgiOutlet:
    """Sends through ASGI, one task per socket. Only as fast as ``send`` waits for its client; Daphne's never does."""

    pongs = False

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._queue: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.on_resume: Callable[[], None] = lambda: None
        self.on_alive: Callable[[], None] = lambda: None

    @property
    def blocked(self) -> bool:
        return len(self._queue) >= ASGI_BACKLOG

    def write(self, framed: list[bytes]) -> None:
        self._queue.extend({"type": "websocket.send", "text": payload_of(each)} for each in framed)
        self._wake()

    def finish(self, code: int, reason: str) -> None:
        self._queue.append({"type": "websocket.close", "code": code, "reason": reason})
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        was_blocked = False
        # A client that is gone ends its consumer; what was meant for it goes with it.
        with contextlib.suppress(Exception):
            while self._queue:
                was_blocked = was_blocked or self.blocked
                await self._send(self._queue.popleft())
        self._queue.clear()
        if was_blocked:
            self.on_resume()


def outlet_of(scope: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> Outlet:
    protocol = scope.get("extensions", {}).get(EXTENSION)
    return RawOutlet(protocol) if protocol is not None else AsgiOutlet(send)
