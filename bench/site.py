"""Start StocksBlitz for a benchmark: its database, web servers, workers and client sessions."""

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
"""Limits so high that a benchmark's few users can make the load of thousands."""
DAPHNE = "python -m stocksblitz.server.daphne -v 0 -b 127.0.0.1 -p $PORT stocksblitz.asgi:application"
SUBSCRIBE_S = 120.0
"""Seconds within which all sessions must have their snapshots."""

type Subscription = tuple[str, str, Sequence[str]]
"""Symbol, timeframe and indicators that a session subscribes to."""


def procfile() -> dict[str, str]:
    """Return the command of each process of the Procfile, with which StocksBlitz runs in production."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {
        name: command.strip() for name, _, command in (line.partition(":") for line in lines if line.strip())
    }


@dataclass
class Site:
    """StocksBlitz installation with a prepared database and the tokens of its users."""

    rig: Rig
    tokens: list[str]

    @property
    def keys(self) -> Keys:
        """Return the Redis keys of the realm that the feed writes."""
        return Keys(FeedSpec.parse(self.rig.env["FEED"]).prefix)

    def web(self, server: str = "uvicorn", settings: str = "stocksblitz.settings") -> Process:
        """Start another web process and wait until it serves; uvicorn runs with the command of the Procfile."""
        port = free_port()
        env = {"PORT": str(port), "DJANGO_SETTINGS_MODULE": settings}
        command = (procfile()["web"] if server == "uvicorn" else DAPHNE).replace("$PORT", str(port))
        return self.rig.serving(self.rig.start(f"web-{server}", command.split(), port=port, env=env))

    def worker(self, name: str) -> Process:
        """Start a worker of the Procfile: feed, compute or portfolio."""
        return self.rig.start(name, procfile()[name].split())

    def paths(self, count: int) -> list[str]:
        """Return the socket addresses of ``count`` new sessions, distributed evenly over the users."""
        tokens = itertools.cycle(self.tokens)
        return [f"/ws/indicators?session_id={uuid.uuid4()}&token={next(tokens)}" for _ in range(count)]


def prepare(rig: Rig, *, users: int = 20, logins: int = 1, symbols: Sequence[str] = ()) -> Site:
    """Migrate the rig's database and fill it with users and instruments."""
    counts = ["--users", str(users), "--logins", str(logins)]
    printed = rig.call("-m", "bench.prepare", *counts, "--symbols", ",".join(symbols))
    return Site(rig, json.loads(printed))


class Subscriber:
    """Sender of each session's subscribe requests, which then waits until all snapshots have arrived."""

    def __init__(self, subscriptions: Sequence[Sequence[Subscription]]) -> None:
        self.subscriptions = subscriptions
        self.missing = sum(map(len, subscriptions))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def subscribe(self, socket: Socket) -> None:
        """Send the subscribe requests of this session."""
        for subscription in self.subscriptions[socket.key]:
            socket.send(request(subscription))

    def on_text(self, socket: Socket, payload: bytes) -> None:
        """Subscribe a session once it is connected, and count the snapshots."""
        message = orjson.loads(payload)
        if message["type"] == "connected":
            self.subscribe(socket)
        elif message["type"] == "error" and not self.done.done():
            self.done.set_exception(RuntimeError(f"a session received an error: {message}"))
        elif message["type"] == "snapshot":
            self.missing -= 1
            if not self.missing and not self.done.done():
                self.done.set_result(None)

    def on_lost(self, socket: Socket) -> None:
        """Fail the wait when the server closes a session."""
        if not self.done.done():
            self.done.set_exception(
                RuntimeError(f"a session was closed with {socket.closed} {socket.reason}")
            )

    async def wait(self, timeout: float) -> None:
        """Wait until every subscription has its snapshot."""
        try:
            await asyncio.wait_for(self.done, timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.missing} snapshots are missing after {timeout} s") from None


def request(subscription: Subscription) -> bytes:
    """Return the subscribe request as the bytes of a text message."""
    symbol, timeframe, indicators = subscription
    body: dict[str, Any] = {"type": "subscribe", "symbol": symbol, "timeframe": timeframe}
    return orjson.dumps({**body, "indicators": list(indicators)})


async def sessions(
    port: int,
    paths: Sequence[str],
    subscriptions: Sequence[Sequence[Subscription]],
    *,
    at_once: int = CONNECT_AT_ONCE,
) -> Crowd:
    """Open one session per path and subscribe it to the entry of the same index; afterwards only count messages."""
    subscriber = Subscriber(subscriptions)
    crowd = await connect(port, paths, subscriber.on_text, subscriber.on_lost, at_once=at_once)
    await subscriber.wait(SUBSCRIBE_S)
    start_counting(crowd)
    return crowd


def start_counting(crowd: Crowd) -> None:
    """Reset the counters and stop reading the messages' content; from here on messages are only counted."""
    crowd.received, crowd.on_lost = 0, ignore
    for socket in crowd.sockets:
        socket.on_text, socket.messages = None, 0
