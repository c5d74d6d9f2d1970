"""The two ways to write to one socket, behind one interface: frames as they are, or ASGI's ``send``."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from stocksblitz.server.websocket import EXTENSION, PreframedProtocol, ignore

log = logging.getLogger(__name__)

ASGI_BACKLOG = 65_536
"""Bytes that may wait for a server's ``send`` before the session counts as slow."""


class Transport(Protocol):
    """Writes framed messages to one socket; the uvicorn protocol of this project is one.

    The functions that write may raise RuntimeError once the socket is closed. `on_pause` is called when the socket
    becomes full (``blocked``), `on_resume` when it no longer is, `on_alive` at a sign of life.
    """

    on_pause: Callable[[], None]
    on_resume: Callable[[], None]
    on_alive: Callable[[], None]
    pongs: bool
    """Whether pongs are reported; where they are not, the server's own pings close a dead socket."""

    blocked: bool

    @property
    def lost(self) -> bool:
        """Whether nothing that is written now can arrive."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes that were written and that the socket has not taken yet."""
        ...

    def writer(self) -> Callable[[bytes], None]:
        """Return the function that writes one message."""
        ...

    def write_all(self, framed: list[bytes]) -> None: ...

    def finish(self, code: int, reason: str) -> None: ...


def payload_of(framed: bytes) -> str:
    """Return the text inside one unmasked frame."""
    size = framed[1]
    return framed[2 if size < 126 else 4 if size == 126 else 10 :].decode()


class AsgiTransport:
    """Sends through ASGI, one message at a time. There is backpressure only where ``send`` waits; Daphne's never does."""

    pongs = False
    lost = False  # a server whose client is gone takes everything, and drops it

    def __init__(self, send: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._queue: deque[dict[str, Any]] = deque()
        self.waiting = 0
        self._sending: asyncio.Task[None] | None = None
        self.blocked = False
        self.on_pause: Callable[[], None] = ignore
        self.on_resume: Callable[[], None] = ignore
        self.on_alive: Callable[[], None] = ignore

    def writer(self) -> Callable[[bytes], None]:
        return self._write

    def write_all(self, framed: list[bytes]) -> None:
        for message in framed:
            self._write(message)

    def _write(self, framed: bytes) -> None:
        message = {"type": "websocket.send", "text": payload_of(framed)}
        if self._sending is None:
            self._start(message)
            return
        self._queue.append(message)
        self.waiting += len(framed)
        if self.waiting > ASGI_BACKLOG and not self.blocked:
            self.blocked = True
            self.on_pause()

    def finish(self, code: int, reason: str) -> None:
        if self.blocked:  # a peer that does not read would not see the close behind it
            self._queue.clear()
        message = {"type": "websocket.close", "code": int(code), "reason": reason}  # Daphne takes no enum
        if self._sending is None:
            self._start(message)
        else:
            self._queue.append(message)

    def _start(self, message: dict[str, Any]) -> None:
        # Started eagerly: where ``send`` does not wait, as Daphne's, the event loop has no task to run.
        task = asyncio.Task(self._send(message), loop=self._loop, eager_start=True)
        if task.done():
            self._ended(task)
        else:
            self._sending = task
            task.add_done_callback(self._next)

    def _next(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        self._ended(task)
        while self._queue and self._sending is None:
            self._start(self._queue.popleft())
        if self._sending is None:
            self.waiting = 0
            if self.blocked:
                self.blocked = False
                self.on_resume()  # which may write again

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Where the client is gone, the rest fails too and the consumer ends; where it is not, it gets the rest.
            log.debug("not sent: %s", error)


def transport_of(
    scope: dict[str, Any], send: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]
) -> Transport:
    """Return the uvicorn protocol where it serves this socket, else a transport over ASGI."""
    protocol: PreframedProtocol | None = scope.get("extensions", {}).get(EXTENSION)
    return AsgiTransport(send) if protocol is None else protocol
