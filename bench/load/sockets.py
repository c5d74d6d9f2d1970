"""Make WebSocket load at little cost: raw protocols that count messages and decode them only on demand."""

import asyncio
import base64
import os
import struct
from collections.abc import Callable, Iterable

from bench.harness import LOOPBACK

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
CONNECT_AT_ONCE = 50


class Refused(RuntimeError):
    """Failure of a WebSocket that the server did not accept."""


type OnText = Callable[["Socket", bytes], None]
type OnLost = Callable[["Socket"], None]


def ignore(socket: "Socket") -> None:
    """Do nothing when the socket's connection ends."""


class Crowd:
    """Group of sockets that counts the messages of all of them; ``until`` waits for a total number."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.received = 0
        self._goal = 0
        self._reached: asyncio.Future[None] | None = None
        self.on_lost: OnLost = ignore

    def count(self, messages: int) -> None:
        """Add received messages to the total."""
        self.received += messages
        if self._reached and self.received >= self._goal and not self._reached.done():
            self._reached.set_result(None)

    async def until(self, goal: int, timeout: float) -> None:
        """Wait until ``goal`` messages have arrived in total; raise TimeoutError with the number that did."""
        if self.received >= goal:
            return
        loop = asyncio.get_running_loop()
        self._goal, self._reached = goal, loop.create_future()
        self._spin(loop)
        try:
            await asyncio.wait_for(self._reached, timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.received} of {goal} messages after {timeout} s") from None
        finally:
            self._reached = None

    def _spin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep the event loop busy while waiting, so that the server does not pay for waking a sleeping receiver.

        A server that writes to a network card does not pay this either.
        """
        if self._reached is not None:
            loop.call_soon(self._spin, loop)

    def close(self) -> None:
        """Close all connections at once."""
        for socket in self.sockets:
            socket.abort()


class Socket(asyncio.Protocol):
    """WebSocket client that passes each text message to ``on_text``, or only counts messages without it."""

    __slots__ = (
        "_open",
        "_rest",
        "closed",
        "crowd",
        "key",
        "last",
        "messages",
        "on_text",
        "path",
        "reason",
        "transport",
    )

    def __init__(self, key: int, path: str, crowd: Crowd, on_text: OnText | None = None) -> None:
        self.key, self.path, self.crowd, self.on_text = key, path, crowd, on_text
        self.messages = 0
        self.last = b""
        self.closed: int | None = None
        self.reason = ""
        self._rest = b""
        self._open: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's class does not inherit from asyncio's
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._open is not None:
            data = self._handshake(data)
        if data:
            self._frames(self._rest + data if self._rest else data)

    def _handshake(self, data: bytes) -> bytes:
        head, end, rest = (self._rest + data).partition(b"\r\n\r\n")
        if not end:
            self._rest = head
            return b""
        opened, self._open, self._rest = self._open, None, b""
        assert opened is not None
        if not opened.done():
            if b" 101 " in head.split(b"\r\n", 1)[0]:
                opened.set_result(None)
            else:
                opened.set_exception(Refused(head.decode(errors="replace")))
        return rest

    def _frames(self, data: bytes) -> None:
        """Read the frames out of the data; a server's frames are not masked, and ours are never fragmented."""
        at, size, texts = 0, len(data), 0
        while size - at >= 2:
            length, head = data[at + 1], 2
            if length == 126:
                if size - at < 4:
                    break
                length, head = (data[at + 2] << 8) | data[at + 3], 4
            elif length == 127:
                if size - at < 10:
                    break
                length, head = struct.unpack_from("!Q", data, at + 2)[0], 10
            start, after = at + head, at + head + length
            if after > size:
                break
            opcode = data[at] & 0x0F
            if opcode == TEXT:
                texts += 1
                if self.on_text is not None:
                    self.on_text(self, data[start:after])
            else:
                self._control(opcode, data[start:after])
            at = after
        self._rest = data[at:]
        if texts:
            self.messages += texts
            self.last = data
            self.crowd.count(texts)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self.closed = int.from_bytes(payload[:2]) if payload else 1005
            self.reason = payload[2:].decode(errors="replace")
            self.send(payload[:2], CLOSE)  # without this reply a server keeps the connection for a while

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Write one message; the mask is all zeros, which is valid and leaves the payload unchanged."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2)
        self.transport.write(bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload)

    def pause(self) -> None:
        """Stop reading, as a stalled browser tab does."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        self.transport.resume_reading()

    def abort(self) -> None:
        """Close the connection without a closing handshake."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._open is not None and not self._open.done():
            self._open.set_exception(Refused(f"the connection ended during the handshake: {exc}"))
        if self.closed is None:
            self.closed = 1006
        self.crowd.on_lost(self)

    async def opened(self) -> None:
        """Wait for the end of the handshake; raise Refused when the server does not accept."""
        if self._open is not None:
            await self._open


async def connect(
    port: int,
    paths: Iterable[str],
    on_text: OnText | None = None,
    on_lost: OnLost = ignore,
    *,
    at_once: int = CONNECT_AT_ONCE,
) -> Crowd:
    """Open one socket per path, ``at_once`` at a time; raise Refused when the server does not accept one."""
    crowd, loop, gate = Crowd(), asyncio.get_running_loop(), asyncio.Semaphore(at_once)
    crowd.on_lost = on_lost

    async def one(key: int, path: str) -> Socket:
        async with gate:
            _, socket = await loop.create_connection(
                lambda: Socket(key, path, crowd, on_text), LOOPBACK, port
            )
            await socket.opened()
            return socket

    crowd.sockets = list(await asyncio.gather(*[one(key, path) for key, path in enumerate(paths)]))
    return crowd
