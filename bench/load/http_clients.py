"""Make HTTP load at little cost: each client keeps one connection open and sends one request at a time."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.harness import LOOPBACK

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
REQUEST_S = 30.0
"""Seconds after which a request without a response fails."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Response to a request, with the seconds that it took."""

    status: int
    head: bytes
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """Return the value of a header, or an empty text without it."""
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1].decode() if found else ""


class Connection(asyncio.Protocol):
    """Persistent connection on which ``request`` sends prepared bytes and returns the response."""

    def __init__(self) -> None:
        self._data = b""
        self._sent = 0.0
        self._waiting: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a port of the loopback."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, LOOPBACK, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's class does not inherit from asyncio's

    async def request(self, raw: bytes) -> Answer:
        """Send a request and wait for its response."""
        self._waiting, self._sent = asyncio.get_running_loop().create_future(), time.perf_counter()
        self.transport.write(raw)
        return await asyncio.wait_for(self._waiting, REQUEST_S)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if length is None:
            self._finish(ValueError(f"expected a response with Content-Length, got {head[:300]!r}"))
        elif len(body) >= int(length[1]):
            self._data = body[int(length[1]) :]
            self._finish(Answer(int(head[9:12]), head, body, time.perf_counter() - self._sent))

    def _finish(self, outcome: "Answer | Exception") -> None:
        if self._waiting is None or self._waiting.done():
            return
        if isinstance(outcome, Answer):
            self._waiting.set_result(outcome)
        else:
            self._waiting.set_exception(outcome)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(ConnectionError(f"the server closed the connection: {exc}"))

    def close(self) -> None:
        self.transport.close()


def get(path: str, token: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def post(path: str, token: str, body: bytes) -> bytes:
    """Return the bytes of a POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def hammer(port: int, requests: Iterable[bytes], connections: int, seconds: float) -> list[Answer]:
    """Send the requests on many connections, one after another on each, until the time is over; return all responses."""
    source, end, answers = iter(requests), time.perf_counter() + seconds, list[Answer]()

    async def one() -> None:
        connection = await Connection.open(port)
        while time.perf_counter() < end:
            answers.append(await connection.request(next(source)))
        connection.close()

    await asyncio.gather(*[one() for _ in range(connections)])
    return answers


def expect(status: int) -> Callable[[Answer], Answer]:
    """Return a function that passes responses of this status on and raises AssertionError for any other."""

    def check(answer: Answer) -> Answer:
        if answer.status != status:
            raise AssertionError(f"expected {status}, got {answer.status}: {answer.body[:500]!r}")
        return answer

    return check
