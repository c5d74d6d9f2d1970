"""The two ways out to one socket, behind one interface: frames made once and written as they are, or ASGI ``send``."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from stocksblitz.server import EXTENSION, PreframedProtocol, ignore

log = logging.getLogger(__name__)

ASGI_BACKLOG = 65_536
"""Bytes that may wait for a server's ``send`` before the session counts as slow."""


class Outlet(Protocol):
    """`writer` gives the function that takes one framed message or a list of them. ``blocked``: the socket is full;
    `on_pause` and `on_resume` are called when it becomes so and when it no longer is. Our uvicorn protocol is one."""

    on_pause: Callable[[], None]
    on_resume: Callable[[], None]
    on_alive: Callable[[], None]
    pongs: bool
    """Whether a pong is reported; where it is not, the server's own pings close a socket that is dead."""

    blocked: bool

    @property
    def lost(self) -> bool:
        """Whether nothing that is written now can arrive."""
        ...

    def writer(self) -> Callable[[bytes | list[bytes]], None]: ...

    def finish(self, code: int, reason: str) -> None: ...


def payload_of(framed: bytes) -> str:
    """The text inside one unmasked frame."""
    size = framed[1]
    return framed[2 if size < 126 else 4 if size == 126 else 10 :].decode()


class AsgiOutlet:
    """Sends through ASGI, one task per socket. Only as fast as ``send`` waits for its client; Daphne's never does."""

    pongs = False
    lost = False  # whose client is gone takes everything, and drops it

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._queue: deque[dict[str, Any]] = deque()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self.blocked = False
        self.on_pause: Callable[[], None] = ignore
        self.on_resume: Callable[[], None] = ignore
        self.on_alive: Callable[[], None] = ignore

    def writer(self) -> Callable[[bytes | list[bytes]], None]:
        return self._write

    def _write(self, framed: bytes | list[bytes]) -> None:
        for each in framed if isinstance(framed, list) else (framed,):
            self._queue.append({"type": "websocket.send", "text": payload_of(each)})
            self._waiting += len(each)
        self._wake()

    def finish(self, code: int, reason: str) -> None:
        if self.blocked:  # a peer that does not read would never see the close
            self._queue.clear()
        self._queue.append({"type": "websocket.close", "code": code, "reason": reason})
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            # Begun at once: where ``send`` does not wait, as Daphne's, the loop is never bothered.
            self._task = asyncio.Task(self._drain(), loop=asyncio.get_running_loop(), eager_start=True)
        if self._waiting > ASGI_BACKLOG and not self.blocked:
            self.blocked = True
            self.on_pause()

    async def _drain(self) -> None:
        while self._queue:
            await self._empty()
            self._waiting = 0
            if self.blocked:
                self.blocked = False
                self.on_resume()  # which may write again

    async def _empty(self) -> None:
        try:
            while self._queue:
                await self._send(self._queue.popleft())
        except Exception as error:
            log.debug(
                "not sent: %s", error
            )  # a client that is gone ends its consumer; what was meant for it goes too
            self._queue.clear()


def outlet_of(scope: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> Outlet:
    """Our uvicorn protocol where it serves this socket, else ASGI."""
    protocol: PreframedProtocol | None = scope.get("extensions", {}).get(EXTENSION)
    return AsgiOutlet(send) if protocol is None else protocol
