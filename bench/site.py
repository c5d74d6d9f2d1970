"""StocksBlitz itself, as a benchmark starts it: database, web servers, workers, sessions."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bench.harness import ROOT, Process, Rig, free_port
from bench.load.sockets import CONNECT_AT_ONCE, Crowd, Socket, connect, ignore
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.redis.keys import Keys

LIMITS = {
    "WS_MAX_SOCKETS": "1000000",
    "WS_MESSAGES_PER_SECOND": "100000",
    "REST_REQUESTS_PER_MINUTE": "1000000000",
    "SESSION_TTL": "3600",
}
"""A benchmark's few users do what thousands would."""
DAPHNE = "python -m stocksblitz.server.daphne -v 0 -b 127.0.0.1 -p $PORT stocksblitz.asgi:application"
JOIN_S = 120.0

type Want = tuple[str, str, Sequence[str]]
"""Symbol, timeframe, indicators."""


def procfile() -> dict[str, str]:
    """How each process is started where StocksBlitz runs for real."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {
        name: command.strip() for name, _, command in (line.partition(":") for line in lines if line.strip())
    }


@dataclass
class Site:
    """A prepared database and the tokens of its users."""

    rig: Rig
    tokens: list[str]

    @property
    def keys(self) -> Keys:
        return Keys(FeedSpec.parse(self.rig.env["FEED"]).prefix)

    def web(self, server: str = "uvicorn", settings: str = "stocksblitz.settings") -> Process:
        """One more web process, serving; uvicorn runs as the Procfile says."""
        port = free_port()
        env = {"PORT": str(port), "DJANGO_SETTINGS_MODULE": settings}
        command = (procfile()["web"] if server == "uvicorn" else DAPHNE).replace("$PORT", str(port))
        return self.rig.serving(self.rig.start(f"web-{server}", command.split(), port=port, env=env))

    def worker(self, name: str) -> Process:
        """A worker of the Procfile: feed, compute or portfolio."""
        return self.rig.start(name, procfile()[name].split())

    def paths(self, count: int) -> list[str]:
        """Addresses of so many new sessions, shared out among the users."""
        tokens = itertools.cycle(self.tokens)
        return [f"/ws/indicators?session_id={uuid.uuid4()}&token={next(tokens)}" for _ in range(count)]


def prepare(rig: Rig, *, users: int = 20, logins: int = 1, symbols: Sequence[str] = ()) -> Site:
    """Migrate the rig's database and fill it with users and instruments."""
    counts = ["--users", str(users), "--logins", str(logins)]
    printed = rig.call("-m", "bench.prepare", *counts, "--symbols", ",".join(symbols))
    return Site(rig, json.loads(printed))


class Joining:
    """Subscribes each session to what it wants once it is open, and waits until all have their snapshots."""

    def __init__(self, wants: Sequence[Sequence[Want]]) -> None:
        self.wants = wants
        self.missing = sum(map(len, wants))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ask(self, socket: Socket) -> None:
        for want in self.wants[socket.key]:
            socket.send(request(want))

    def on_text(self, socket: Socket, payload: bytes) -> None:
        message = orjson.loads(payload)
        if message["type"] == "connected":
            self.ask(socket)
        elif message["type"] == "error" and not self.done.done():
            self.done.set_exception(RuntimeError(f"a session was told: {message}"))
        elif message["type"] == "snapshot":
            self.missing -= 1
            if not self.missing and not self.done.done():
                self.done.set_result(None)

    def on_lost(self, socket: Socket) -> None:
        if not self.done.done():
            self.done.set_exception(
                RuntimeError(f"a session was closed with {socket.closed} {socket.reason}")
            )

    async def all(self, timeout: float) -> None:
        try:
            await asyncio.wait_for(self.done, timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.missing} snapshots are missing after {timeout} s") from None


def request(want: Want) -> bytes:
    symbol, timeframe, indicators = want
    body: dict[str, Any] = {"type": "subscribe", "symbol": symbol, "timeframe": timeframe}
    return orjson.dumps({**body, "indicators": list(indicators)})


async def sessions(
    port: int, paths: Sequence[str], wants: Sequence[Sequence[Want]], *, at_once: int = CONNECT_AT_ONCE
) -> Crowd:
    """Open one session per path, subscribe each to the wants at its place; then its sockets only count."""
    joining = Joining(wants)
    crowd = await connect(port, paths, joining.on_text, joining.on_lost, at_once=at_once)
    await joining.all(JOIN_S)
    start_counting(crowd)
    return crowd


def start_counting(crowd: Crowd) -> None:
    """Forget what came so far; from here on messages are only counted."""
    crowd.received, crowd.on_lost = 0, ignore
    for member in crowd.members:
        member.on_text, member.messages = None, 0
