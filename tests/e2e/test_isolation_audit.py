"""A randomised audit: many sessions change what they have while frames flow, and every frame is checked.

``AUDIT_SECONDS`` makes it longer; the number of deliveries is printed.
"""

import asyncio
import os
import random
import subprocess
import sys
import uuid
from collections import Counter

import httpx
import orjson
import pytest

from bench.sockets import Crowd, Socket
from tests.e2e.stack import ROOT

SECONDS = float(os.environ.get("AUDIT_SECONDS", "8"))
pytestmark = [pytest.mark.process, pytest.mark.timeout(SECONDS + 180)]
USERS, SESSIONS = 20, 200
FIRST = 15
"""Streams that each session asks for before it begins to change its mind."""
SYMBOLS = ["NIFTY50", "BANKNIFTY", "RELIANCE", "TCS", "INFY", "AAPL", "MSFT", "EURUSD", "BTCUSD", "ETHUSD"]
TIMEFRAMES = ["1min", "5min", "1h"]
INDICATORS = ["RSI_14", "RSI_14_100", "SMA_20", "EMA_9", "MACD_12_26_9", "BBANDS_20_2", "ATR_14"]

MAKE_USERS = f"""
from django.contrib.auth.models import User
for n in range({USERS}):
    name = f"audit{{n}}"
    User.objects.filter(username=name).exists() or User.objects.create_user(name, password="audit-audit")
"""


class Auditor:
    """One session. It knows what it has from the server's replies alone, in the order in which they came."""

    def __init__(self, audit, http, user) -> None:
        self.audit, self.http, self.user = audit, http, user
        self.session_id = str(uuid.uuid4())
        self.has: dict[tuple[str, str], set[str]] = {}
        self.at: dict[tuple[str, str], tuple[str, int]] = {}
        self.closed: dict[tuple[str, str], int] = {}
        self.waiting: dict[int, asyncio.Future] = {}
        self.requests = 0
        self.socket: Socket | None = None

    async def connect(self) -> None:
        access = await self.audit.sign_in(self.http, self.user)
        path = f"/ws/indicators?session_id={self.session_id}&token={access}"
        loop = asyncio.get_running_loop()
        self.has.clear()
        self.at.clear()
        _, self.socket = await loop.create_connection(
            lambda: Socket(0, path, Crowd(), self.on_text), "127.0.0.1", self.audit.port
        )
        await self.socket.opened()

    def on_text(self, socket: Socket, data: bytes) -> None:
        message = orjson.loads(data)
        kind = message["type"]
        if kind == "market_update":
            self.check(message)
        elif kind in ("subscribed", "unsubscribed"):
            self.on_reply(message)
        elif kind == "snapshot":
            stream = (message["symbol"], message["timeframe"])
            assert set(message["indicators"]) == self.has[stream]
            self.at[stream] = (message["epoch"], message["seq"])
        elif kind == "lagged":
            stream = (message["symbol"], message["timeframe"])
            self.at[stream] = (self.at[stream][0], message["to_seq"])
        self.audit.kinds[kind] += 1

    def check(self, message) -> None:
        stream = (message["symbol"], message["timeframe"])
        self.audit.deliveries += 1
        if set(message["indicators"]) != self.has.get(stream):
            self.audit.violations.append((stream, self.has.get(stream), message["indicators"].keys()))
        if self.at.get(stream) != (message["epoch"], message["seq"] - 1):
            self.audit.violations.append((stream, self.at.get(stream), message["epoch"], message["seq"]))
        self.at[stream] = (message["epoch"], message["seq"])

    def on_reply(self, message) -> None:
        stream = (message["symbol"], message["timeframe"])
        if message["type"] == "unsubscribed" and stream[1] is None:
            for each in [each for each in self.has if stream[0] in (None, each[0])]:
                del self.has[each]
        elif message["indicators"] or message["type"] == "subscribed":
            self.has[stream] = set(message["indicators"])
        else:
            self.has.pop(stream, None)
        waiting = self.waiting.pop(message["id"], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def ask(self, **message) -> None:
        self.requests += 1
        done = self.waiting[self.requests] = asyncio.get_running_loop().create_future()
        self.socket.send(orjson.dumps({"id": self.requests, **message}))
        await asyncio.wait_for(done, 20)

    async def live(self, chance: random.Random) -> None:
        await self.connect()
        for _ in range(FIRST):
            stream = {"symbol": chance.choice(SYMBOLS), "timeframe": chance.choice(TIMEFRAMES)}
            await self.act(0.0, stream, chance.sample(INDICATORS, 2))
        while True:
            stream = {"symbol": chance.choice(SYMBOLS), "timeframe": chance.choice(TIMEFRAMES)}
            some = chance.sample(INDICATORS, chance.randint(1, 3))
            await self.act(chance.random(), stream, some)
            await asyncio.sleep(chance.random() * 2)

    async def act(self, dice: float, stream, some) -> None:
        if dice < 0.6 or not self.has:
            await self.ask(type="subscribe", **stream, indicators=some)
        elif dice < 0.8:
            await self.ask(type="unsubscribe", **stream, indicators=some)
        elif dice < 0.88:
            await self.ask(type="unsubscribe", **stream)
        elif dice < 0.94:
            self.socket.abort()  # the line breaks; the same session comes back
            await self.connect()
        else:
            await self.log_out()

    async def log_out(self) -> None:
        """End this session alone; the socket is closed by the server, and a new session begins."""
        headers = {"Authorization": f"Bearer {await self.audit.sign_in(self.http, self.user)}"}
        await self.http.post("/auth/logout", json={"session_id": self.session_id}, headers=headers)
        while self.socket.closed is None:
            await asyncio.sleep(0.01)
        assert self.socket.closed == 4508
        self.session_id = str(uuid.uuid4())
        await self.connect()


class Audit:
    def __init__(self, port: int) -> None:
        self.port = port
        self.deliveries = 0
        self.violations: list = []
        self.kinds: Counter[str] = Counter()
        self._tokens: dict[str, str] = {}

    async def sign_in(self, http, user) -> str:
        if user not in self._tokens:
            body = {"username": user, "password": "audit-audit"}
            self._tokens[user] = (await http.post("/auth/token", json=body)).json()["access"]
        return self._tokens[user]


async def test_every_frame_holds_exactly_what_its_session_has(live_stack):
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_USERS],
        cwd=ROOT, env=live_stack.env, check=True, timeout=60,
    )  # fmt: skip
    audit = Audit(live_stack.port)
    async with httpx.AsyncClient(base_url=live_stack.url, timeout=30) as http:
        auditors = [Auditor(audit, http, f"audit{n % USERS}") for n in range(SESSIONS)]
        for n in range(USERS):
            await audit.sign_in(http, f"audit{n}")
        tasks = [asyncio.create_task(each.live(random.Random(n))) for n, each in enumerate(auditors)]
        done, _ = await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in auditors:
            if each.socket is not None:
                each.socket.abort()
        for task in done:
            task.result()
    print(f"{audit.deliveries} deliveries, {dict(audit.kinds)}")
    assert audit.violations == []
    assert audit.deliveries > 1000 * SECONDS
