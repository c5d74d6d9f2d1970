"""Run sessions that change their subscriptions at random, and check their messages against a model of each session."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench.harness import LOOPBACK
from bench.load.expected import BARS, Expected, StreamKey
from bench.load.http_clients import Connection, expect, post
from bench.load.sockets import CLOSE, Crowd, Socket

FIRST = 10
"""Number of streams that a new session subscribes to."""
ANSWER_S = 60.0
"""Seconds after which a request without a reply fails."""
ENDED, REPLACED, TOO_SLOW = 4508, 4510, 4008
"""Close codes of docs/protocol.md."""

type Judge = Callable[[dict[str, Any]], str | None]
"""Function that returns what is wrong with the values of a frame, or None."""


class Lost(RuntimeError):
    """Close of a socket by the server although its client wanted to keep it; the message is the close code."""


@dataclass
class Audit:
    """Settings that all sessions share, and the counters and violations of the whole audit."""

    ports: Sequence[int]
    streams: Sequence[StreamKey]
    indicators: Sequence[str]
    sign_in: Callable[[int], str]
    """Returns a token for the user with this number; with `own_logins`, of a new login at each call."""
    own_logins: bool = False
    judge: Judge = lambda message: None
    pause_s: float = 1.0
    """Average pause of a session between two operations, in seconds."""
    deliveries: int = 0
    late: int = 0
    """Updates read between the response to a logout and the close of the socket, which use two connections."""
    closes_ms: list[float] = field(default_factory=list)
    """Milliseconds from the response to a logout to the close of the session's socket."""
    found: list[str] = field(default_factory=list)
    """Violations of the protocol."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Received messages by type."""
    done: Counter[str] = field(default_factory=Counter)
    """Operations of the sessions by name."""
    auditors: list["Auditor"] = field(default_factory=list)

    async def begin(self, users: int, sessions: int, seed: int = 0) -> None:
        """Open the sessions; their messages are checked from the first one on."""
        self.auditors = [
            Auditor(self, number % users, random.Random(seed + number)) for number in range(sessions)
        ]
        await asyncio.gather(*[auditor.begin() for auditor in self.auditors])

    async def run(self, seconds: float) -> None:
        """Let every session perform random operations until the time is over."""
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*[auditor.live(end) for auditor in self.auditors])

    async def settle(self, newest: dict[StreamKey, tuple[str, int]], timeout: float) -> None:
        """Wait until every session has the newest frame of its streams, then compare the lists of subscriptions.

        A session that is still behind at the time-out is a violation.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while (behind := self._behind(newest)) and loop.time() < end:  # noqa: ASYNC110 (no single event ends this)
            await asyncio.sleep(0.05)
        self.found += behind
        await asyncio.gather(*[auditor.socket.ask(type="list") for auditor in self.auditors])

    def _behind(self, newest: dict[StreamKey, tuple[str, int]]) -> list[str]:
        states = [(auditor.session_id, auditor.socket.expected) for auditor in self.auditors]
        return [
            f"{session_id} is at {expected.positions.get(key)} of {key}, which is at {newest[key]}"
            for session_id, expected in states
            for key in expected.flowing
            if expected.positions.get(key) != newest[key]
        ]

    def close(self) -> None:
        """Close all sockets."""
        for auditor in self.auditors:
            auditor.socket.abort()


class AuditedSocket:
    """Socket of a session whose messages are checked against a model."""

    def __init__(self, audit: Audit, expected: Expected) -> None:
        self.audit, self.expected = audit, expected
        self.leaving = False
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._requests = 0
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[int] = self._loop.create_future()
        self.client: Socket

    async def open(self, port: int, path: str) -> "AuditedSocket":
        """Connect, and wait for the message ``connected``."""
        crowd = Crowd()
        crowd.on_lost = self._on_lost
        self.client = Socket(0, path, crowd, self.on_text)
        await self._loop.create_connection(lambda: self.client, LOOPBACK, port)
        await self.client.opened()
        await self._unless_lost(self._hello)
        return self

    def on_text(self, socket: Socket, payload: bytes) -> None:
        """Count and check a message; a wrong one is a violation."""
        message = orjson.loads(payload)
        audit, kind = self.audit, message["type"]
        audit.kinds[kind] += 1
        wrong = self.expected.check(message)
        if kind == "market_update":
            audit.deliveries += 1
            audit.late += self.leaving
            wrong = wrong or audit.judge(message)
        else:
            wrong = wrong or self._on_other(kind, message)
        if socket.closed is not None:
            wrong = f"a message came after the close with {socket.closed}"
        if wrong:
            audit.found.append(f"{self.expected.session_id}: {wrong}: {payload[:500]!r}")

    def _on_other(self, kind: str, message: dict[str, Any]) -> str | None:
        if kind == "snapshot":
            return self.audit.judge(message)
        answered = self._hello if kind == "connected" else self._waiting.pop(message.get("id", 0), None)
        if answered is not None and not answered.done():
            answered.set_result(None)
        return None

    def _on_lost(self, socket: Socket) -> None:
        if not self.lost.done():
            self.lost.set_result(socket.closed or 1006)

    def request(self, **body: Any) -> asyncio.Future[None]:
        """Send a request; the future ends when the reply arrives."""
        self._requests += 1
        answered = self._waiting[self._requests] = self._loop.create_future()
        self.expected.requests[self._requests] = body
        self.client.send(orjson.dumps({"id": self._requests, **body}))
        return answered

    async def ask(self, **body: Any) -> None:
        """Send a request and wait for its reply."""
        await self._unless_lost(self.request(**body))

    async def ask_all(self, bodies: Iterable[dict[str, Any]]) -> None:
        """Send several requests at once, then wait for their replies."""
        for answered in [self.request(**body) for body in bodies]:
            await self._unless_lost(answered)

    async def _unless_lost(self, answered: asyncio.Future[None]) -> None:
        either: set[asyncio.Future[Any]] = {answered, self.lost}
        await asyncio.wait(either, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            return
        if self.lost.done():
            raise Lost(str(self.lost.result()))
        raise TimeoutError(f"no reply within {ANSWER_S} s")

    async def closes_with(self, code: int) -> None:
        """Wait until the server closes the socket; a code other than the expected one is a violation."""
        got = await asyncio.wait_for(asyncio.shield(self.lost), ANSWER_S)
        if got != code:
            self.audit.found.append(f"{self.expected.session_id}: closed with {got} instead of {code}")

    def abort(self) -> None:
        """Close the connection without a closing handshake."""
        self.lost.cancel()
        self.client.abort()


class Auditor:
    """Browser tab of one user: its session, its socket, and the random choice of its next operation."""

    def __init__(self, audit: Audit, user: int, chance: random.Random) -> None:
        self.audit, self.user, self.chance = audit, user, chance
        self.session_id, self.token = "", ""
        self.socket: AuditedSocket
        share = [(30, self.subscribe), (15, self.swap), (12, self.drop_indicators), (7, self.drop_stream)]
        rare = [(2, self.drop_symbol), (1, self.drop_all), (6, self.cut), (4, self.leave), (4, self.move)]
        last = [(3, self.end_session), (2, self.end_login if audit.own_logins else self.end_session)]
        self._weights, self._acts = zip(*share, *rare, *last, strict=True)

    async def begin(self) -> None:
        """Sign in and open a new session."""
        self.token = self.audit.sign_in(self.user)
        await self._new_session()

    async def live(self, end: float) -> None:
        """Perform random operations until the time ``end``."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            await asyncio.sleep(self.chance.random() * 2 * self.audit.pause_s)
            (act,) = self.chance.choices(self._acts, self._weights)
            try:
                await act()
            except Lost as lost:
                await self._replace_session(int(str(lost)))
            self.audit.done[act.__name__] += 1

    async def _replace_session(self, code: int) -> None:
        self.audit.done[f"closed by the server with {code}"] += 1
        if code != TOO_SLOW:
            self.audit.found.append(f"{self.session_id}: closed with {code}")
        await self._new_session()  # the server may or may not have executed a request that it did not answer

    # --- its subscriptions --------------------------------------------------------------------------------------------

    def _any_stream(self) -> dict[str, str]:
        return named(self.chance.choice(self.audit.streams))

    def _any_indicators(self) -> list[str]:
        """Return up to four indicators; sometimes none, which requests the bars alone."""
        return self.chance.sample(self.audit.indicators, self.chance.choice((0, 1, 1, 2, 2, 3, 3, 4)))

    def _subscribed_stream(self) -> StreamKey | None:
        subscribed = self.socket.expected.subscribed
        return self.chance.choice(sorted(subscribed)) if subscribed else None

    async def subscribe(self) -> None:
        """Subscribe to random indicators of a random stream."""
        await self.socket.ask(type="subscribe", **self._any_stream(), indicators=self._any_indicators())

    async def swap(self) -> None:
        """Replace indicators of a stream by others, without waiting between the two requests."""
        key = self._subscribed_stream()
        if key is None:
            return
        stream, ids = named(key), self.socket.expected.subscribed[key]
        drop = {"type": "unsubscribe", **stream, "indicators": sorted(ids - {BARS})[:3]}
        add = {"type": "subscribe", **stream, "indicators": self._any_indicators()}
        await self.socket.ask_all([drop, add] if self.chance.random() < 0.5 else [add, drop])

    async def drop_indicators(self) -> None:
        """Unsubscribe from random indicators of a stream."""
        key = self._subscribed_stream()
        stream = named(key) if key else self._any_stream()
        await self.socket.ask(type="unsubscribe", **stream, indicators=self._any_indicators())

    async def drop_stream(self) -> None:
        """Unsubscribe from a random stream."""
        await self.socket.ask(type="unsubscribe", **self._any_stream())

    async def drop_symbol(self) -> None:
        """Unsubscribe from all streams of a random symbol."""
        await self.socket.ask(type="unsubscribe", symbol=self._any_stream()["symbol"])

    async def drop_all(self) -> None:
        """Unsubscribe from everything."""
        await self.socket.ask(type="unsubscribe")

    # --- its socket ---------------------------------------------------------------------------------------------------

    async def _connect(self, subscribed: dict[StreamKey, set[str]], *, retained: bool = True) -> None:
        """Open a socket of the session in a random web process; ``retained`` is that of `Expected`."""
        socket = AuditedSocket(self.audit, Expected(self.session_id, subscribed, retained=retained))
        port = self.chance.choice(self.audit.ports)
        self.socket = await socket.open(
            port, f"/ws/indicators?session_id={self.session_id}&token={self.token}"
        )

    async def cut(self) -> None:
        """Break the connection and reconnect the session, which has kept its subscriptions."""
        self.socket.abort()
        await self._connect(self.socket.expected.subscribed)
        await self._resume()

    async def leave(self) -> None:
        """Close the socket as a client that leaves for good, and reconnect at once."""
        before = self.socket
        before.client.send((1000).to_bytes(2), CLOSE)
        await asyncio.wait_for(asyncio.shield(before.lost), ANSWER_S)
        await self._connect(before.expected.subscribed, retained=False)
        await self._resume()
        if not self.socket.expected.subscribed:
            await self._subscribe_first()

    async def move(self) -> None:
        """Open the session on a second socket, which replaces the first one."""
        before = self.socket
        await self._connect({key: set(ids) for key, ids in before.expected.subscribed.items()})
        await before.closes_with(REPLACED)
        await self._resume()

    async def _resume(self) -> None:
        """Subscribe again to most retained streams; the others send nothing until a request names them."""
        subscribed = self.socket.expected.subscribed
        keys = [key for key in sorted(subscribed) if self.chance.random() < 0.9]
        await self.socket.ask_all(
            {"type": "subscribe", **named(key), "indicators": sorted(subscribed[key] - {BARS})[:1]}
            for key in keys
        )

    # --- its end ------------------------------------------------------------------------------------------------------

    async def _new_session(self) -> None:
        self.session_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        await self._connect({})
        await self._subscribe_first()

    async def _subscribe_first(self) -> None:
        await self.socket.ask_all(
            {"type": "subscribe", **self._any_stream(), "indicators": self._any_indicators()}
            for _ in range(FIRST)
        )

    async def _log_out(self, body: dict[str, str]) -> None:
        connection = await Connection.open(self.chance.choice(self.audit.ports))
        answer = await connection.request(post("/auth/logout", self.token, orjson.dumps(body)))
        self.socket.leaving = True
        connection.close()
        expect(204)(answer)
        start = time.perf_counter()
        await self.socket.closes_with(ENDED)
        self.audit.closes_ms.append((time.perf_counter() - start) * 1000)

    async def end_session(self) -> None:
        """Log out of the session and open a new one."""
        await self._log_out({"session_id": self.session_id})
        await self._new_session()

    async def end_login(self) -> None:
        """Log out of the whole login and sign in again."""
        await self._log_out({})
        await self.begin()


def named(key: StreamKey) -> dict[str, str]:
    """Return the fields of a request that name a stream."""
    return {"symbol": key[0], "timeframe": key[1]}
