"""Sessions that change their minds at random, and a model of each that every message to it is checked against."""

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
from bench.load.expected import Expected, Pair
from bench.load.http_clients import Connection, expect, post
from bench.load.sockets import CLOSE, Crowd, Socket

FIRST = 10
"""Streams that a session asks for when it begins."""
ANSWER_S = 60.0
ENDED, REPLACED, TOO_SLOW = 4508, 4510, 4008

type Judge = Callable[[dict[str, Any]], str | None]
"""Says what is wrong with the values of a frame, or None."""


class Lost(RuntimeError):
    """The server closed a socket that its client wanted to keep; the message is the code."""


@dataclass
class Audit:
    """What all sessions share: where they connect, what there is to ask for, what was found."""

    ports: Sequence[int]
    pairs: Sequence[Pair]
    indicators: Sequence[str]
    sign_in: Callable[[int], str]
    """A token for the user of that number, of a new login each time where `own_logins`."""
    own_logins: bool = False
    judge: Judge = lambda message: None
    pause_s: float = 1.0
    """Average pause of a session between two operations."""
    deliveries: int = 0
    late: int = 0
    """Updates read after the answer to a logout and before the close, which come on two connections."""
    closes_ms: list[float] = field(default_factory=list)
    """From the answer to a logout to the close of the session's socket."""
    found: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    auditors: list["Auditor"] = field(default_factory=list)

    async def begin(self, users: int, sessions: int, seed: int = 0) -> None:
        """Open so many sessions; what they are sent is checked from the first message on."""
        self.auditors = [Auditor(self, at % users, random.Random(seed + at)) for at in range(sessions)]
        await asyncio.gather(*[each.begin() for each in self.auditors])

    async def run(self, seconds: float) -> None:
        """Let them live for so long; what was counted and found is in the fields."""
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*[each.live(end) for each in self.auditors])

    async def settle(self, newest: dict[Pair, tuple[str, int]], timeout: float) -> None:
        """Wait until every session is where its streams are; one that is left behind is a finding. Then compare lists."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while (behind := self._behind(newest)) and loop.time() < end:  # noqa: ASYNC110 (many places end it)
            await asyncio.sleep(0.05)
        self.found += behind
        await asyncio.gather(*[each.line.ask(type="list") for each in self.auditors])

    def _behind(self, newest: dict[Pair, tuple[str, int]]) -> list[str]:
        return [
            f"{each.session_id} is at {each.line.expected.at.get(pair)} of {pair}, which is at {newest[pair]}"
            for each in self.auditors
            for pair in each.line.expected.flowing
            if each.line.expected.at.get(pair) != newest[pair]
        ]

    def close(self) -> None:
        for each in self.auditors:
            each.line.abort()


class Line:
    """One socket of a session, and what is expected of it."""

    def __init__(self, audit: Audit, expected: Expected) -> None:
        self.audit, self.expected = audit, expected
        self.leaving = False
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._requests = 0
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[int] = self._loop.create_future()
        self.socket: Socket

    async def open(self, port: int, path: str) -> "Line":
        crowd = Crowd()
        crowd.on_lost = self._on_lost
        self.socket = Socket(0, path, crowd, self.on_text)
        await self._loop.create_connection(lambda: self.socket, LOOPBACK, port)
        await self.socket.opened()
        await self._unless_lost(self._hello)
        return self

    def on_text(self, socket: Socket, payload: bytes) -> None:
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
            wrong = f"came after the close with {socket.closed}"
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
        """Send a request; the future is done when its answer is there."""
        self._requests += 1
        answered = self._waiting[self._requests] = self._loop.create_future()
        self.expected.asked[self._requests] = body
        self.socket.send(orjson.dumps({"id": self._requests, **body}))
        return answered

    async def ask(self, **body: Any) -> None:
        await self._unless_lost(self.request(**body))

    async def ask_all(self, bodies: Iterable[dict[str, Any]]) -> None:
        """Send several requests at once, then wait for their answers."""
        for answered in [self.request(**body) for body in bodies]:
            await self._unless_lost(answered)

    async def _unless_lost(self, answered: asyncio.Future[None]) -> None:
        either: set[asyncio.Future[Any]] = {answered, self.lost}
        await asyncio.wait(either, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            return
        if self.lost.done():
            raise Lost(str(self.lost.result()))
        raise TimeoutError(f"no answer within {ANSWER_S} s")

    async def closes_with(self, code: int) -> None:
        """Wait for the server to close; another code is a finding."""
        got = await asyncio.wait_for(asyncio.shield(self.lost), ANSWER_S)
        if got != code:
            self.audit.found.append(f"{self.expected.session_id}: closed with {got} in place of {code}")

    def abort(self) -> None:
        self.lost.cancel()
        self.socket.abort()


class Auditor:
    """A tab of one user: its session, its socket, and what it does next."""

    def __init__(self, audit: Audit, user: int, chance: random.Random) -> None:
        self.audit, self.user, self.chance = audit, user, chance
        self.session_id, self.token = "", ""
        self.line: Line
        share = [(30, self.subscribe), (15, self.swap), (12, self.drop_indicators), (7, self.drop_stream)]
        rare = [(2, self.drop_symbol), (1, self.drop_all), (6, self.cut), (4, self.leave), (4, self.move)]
        last = [(3, self.end_session), (2, self.end_login if audit.own_logins else self.end_session)]
        self._weights, self._acts = zip(*share, *rare, *last, strict=True)

    async def begin(self) -> None:
        """A new session, of a new login where the audit has one to give."""
        self.token = self.audit.sign_in(self.user)
        await self._new_session()

    async def live(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            await asyncio.sleep(self.chance.random() * 2 * self.audit.pause_s)
            (act,) = self.chance.choices(self._acts, self._weights)
            try:
                await act()
            except Lost as lost:
                await self._come_back(int(str(lost)))
            self.audit.done[act.__name__] += 1

    async def _come_back(self, code: int) -> None:
        self.audit.done[f"closed by the server with {code}"] += 1
        if code != TOO_SLOW:
            self.audit.found.append(f"{self.session_id}: closed with {code}")
        await self._new_session()  # what became of a request without an answer is not known

    # --- what it has --------------------------------------------------------------------------------------------------

    def _pair(self) -> dict[str, str]:
        symbol, timeframe = self.chance.choice(self.audit.pairs)
        return {"symbol": symbol, "timeframe": timeframe}

    def _some(self) -> list[str]:
        """Up to four indicators; sometimes none, which asks for the bars alone."""
        return self.chance.sample(self.audit.indicators, self.chance.choice((0, 1, 1, 2, 2, 3, 3, 4)))

    def _held(self) -> Pair | None:
        return self.chance.choice(sorted(rows)) if (rows := self.line.expected.rows) else None

    async def subscribe(self) -> None:
        await self.line.ask(type="subscribe", **self._pair(), indicators=self._some())

    async def swap(self) -> None:
        """Other indicators in place of those it has, without waiting between the two requests."""
        held = self._held()
        if held is None:
            return
        pair, had = dict(zip(("symbol", "timeframe"), held, strict=True)), self.line.expected.rows[held]
        drop = {"type": "unsubscribe", **pair, "indicators": sorted(had - {""})[:3]}
        take = {"type": "subscribe", **pair, "indicators": self._some()}
        await self.line.ask_all([drop, take] if self.chance.random() < 0.5 else [take, drop])

    async def drop_indicators(self) -> None:
        held = self._held()
        pair = dict(zip(("symbol", "timeframe"), held, strict=True)) if held else self._pair()
        await self.line.ask(type="unsubscribe", **pair, indicators=self._some())

    async def drop_stream(self) -> None:
        await self.line.ask(type="unsubscribe", **self._pair())

    async def drop_symbol(self) -> None:
        await self.line.ask(type="unsubscribe", symbol=self._pair()["symbol"])

    async def drop_all(self) -> None:
        await self.line.ask(type="unsubscribe")

    # --- its socket ---------------------------------------------------------------------------------------------------

    async def _connect(self, rows: dict[Pair, set[str]], *, sure: bool = True) -> None:
        """Open a socket of the session in any web process; ``sure``: it still has these."""
        line = Line(self.audit, Expected(self.session_id, rows, sure=sure))
        port = self.chance.choice(self.audit.ports)
        self.line = await line.open(port, f"/ws/indicators?session_id={self.session_id}&token={self.token}")

    async def cut(self) -> None:
        """The line breaks, and the same session comes back: it has what it had, and asks for some of it again."""
        self.line.abort()
        await self._connect(self.line.expected.rows)
        await self._resume()

    async def leave(self) -> None:
        """Close as a client does that will not come back, and come back at once."""
        line = self.line
        line.socket.send((1000).to_bytes(2), CLOSE)
        await asyncio.wait_for(asyncio.shield(line.lost), ANSWER_S)
        await self._connect(line.expected.rows, sure=False)
        await self._resume()
        if not self.line.expected.rows:
            await self._fill()

    async def move(self) -> None:
        """The session is opened elsewhere while it is open here."""
        before = self.line
        await self._connect({pair: set(had) for pair, had in before.expected.rows.items()})
        await before.closes_with(REPLACED)
        await self._resume()

    async def _resume(self) -> None:
        """Ask for most of what it has, as one that comes back; the rest stays silent until it does."""
        rows = self.line.expected.rows
        pairs = [pair for pair in sorted(rows) if self.chance.random() < 0.9]
        await self.line.ask_all(
            {"type": "subscribe", "symbol": pair[0], "timeframe": pair[1], "indicators": sorted(rows[pair] - {""})[:1]}
            for pair in pairs
        )  # fmt: skip

    # --- its end ------------------------------------------------------------------------------------------------------

    async def _new_session(self) -> None:
        self.session_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        await self._connect({})
        await self._fill()

    async def _fill(self) -> None:
        await self.line.ask_all(
            {"type": "subscribe", **self._pair(), "indicators": self._some()} for _ in range(FIRST)
        )

    async def _log_out(self, body: dict[str, str]) -> None:
        connection = await Connection.open(self.chance.choice(self.audit.ports))
        answer = await connection.request(post("/auth/logout", self.token, orjson.dumps(body)))
        self.line.leaving = True
        connection.close()
        expect(204)(answer)
        start = time.perf_counter()
        await self.line.closes_with(ENDED)
        self.audit.closes_ms.append((time.perf_counter() - start) * 1000)

    async def end_session(self) -> None:
        await self._log_out({"session_id": self.session_id})
        await self._new_session()

    async def end_login(self) -> None:
        """Log out altogether and sign in again."""
        await self._log_out({})
        await self.begin()
