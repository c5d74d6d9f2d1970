"""Measure the server's CPU time per delivered update with 500 WebSocket clients, and compare it with other servers.

All servers run at the same time and keep their clients connected; they are measured in alternation, so that other load
on the machine affects all of them alike. A round publishes once and ends when every client has read the message, so
that no server can join or drop the messages of two rounds. The other servers send the same bytes that our server
sends to a session with one stream.
"""

import asyncio
import itertools
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.baselines import channels_group, nchan, node
from bench.harness import Process, Rig
from bench.load.frames import FakeStream, publish
from bench.load.sockets import Crowd, connect
from bench.report import Report
from bench.site import LIMITS, Site, Subscription, prepare, sessions

CLIENTS = 500
SAMPLES = 5
SLICES, SLICE_S = 15, 0.1
"""Short slices alternate between the servers, because a shared machine can be half as fast for about a second."""
ROUND_S = 30.0
"""Seconds after which a round that has not reached every client fails."""
PER_VIEW = 3
"""Indicators per session and stream, which make a message of about 600 bytes."""
VIEWS = 50
INDICATORS = [f"SMA_{length}" for length in range(10, 10 + VIEWS)]

ONE, TEN = "ours, one stream per session", "ours, ten streams per session due together"
MANY, ASGI = "ours, 50 distinct views", "ours on Daphne"
DAPHNE, UVICORN = "Channels group_send on daphne", "Channels group_send on uvicorn"
NODE, NCHAN = "Node ws", "nchan"
TARGETS = (
    (ONE, DAPHNE, "<= 0.025"),
    (ONE, UVICORN, None),
    (ONE, NODE, None),
    (ONE, NCHAN, "<= 1.3"),
    (TEN, NCHAN, "<= 0.5"),
    (MANY, ONE, "<= 1.5"),
    (ASGI, DAPHNE, "<= 0.2"),
)
"""Name, baseline and target ratio of each comparison."""


@dataclass
class Contestant:
    """Server with its clients and with the function that publishes one round to them."""

    name: str
    server: Process
    crowd: Crowd
    publish: Callable[[], Awaitable[None]]
    per_round: int = 1
    """Updates that every client receives in one round."""
    costs: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    updates: int = 0

    async def round(self) -> None:
        """Publish once and wait until every client has received it."""
        goal = self.crowd.received + len(self.crowd.sockets) * self.per_round
        await self.publish()
        await self.crowd.until(goal, ROUND_S)

    async def sample(self, seconds: float) -> None:
        """Run rounds until the time is over and add up their CPU seconds and updates."""
        cpu, received, end = self.server.cpu_s(), self.crowd.received, time.monotonic() + seconds
        while time.monotonic() < end:
            await self.round()
        self.spent_s += self.server.cpu_s() - cpu
        self.updates += self.crowd.received - received

    def end_turn(self) -> None:
        """Record this turn's CPU time per update in µs."""
        self.costs.append(self.spent_s * 1e6 / self.updates)
        self.spent_s, self.updates = 0.0, 0

    @property
    def cost(self) -> float:
        """Return the median CPU time per update in µs."""
        return statistics.median(self.costs)

    def check(self) -> None:
        """Raise AssertionError unless all clients received the same number of messages: none was lost or doubled."""
        counts = {socket.messages for socket in self.crowd.sockets}
        if len(counts) != 1:
            raise AssertionError(
                f"{self.name}: expected the same number of messages for every client, got {min(counts)} to {max(counts)}"
            )


async def others(rig: Rig, report: Report, message: bytes) -> list[Contestant]:
    """Start the servers to compare with; a server that is not installed is reported and left out."""
    contestants = []
    for name, server in ((DAPHNE, "daphne"), (UVICORN, "uvicorn")):
        process = channels_group.start(rig, server)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        publish = channels_group.publisher(rig, server, message.decode())
        contestants.append(Contestant(name, process, crowd, publish))
    if node.resolver():
        process, publish_port = node.start(rig)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        contestants.append(Contestant(NODE, process, crowd, await node.publisher(publish_port, message)))
    else:
        report.say("node or its package ws is not installed: left out")
    if nchan.installed():
        process = nchan.start(rig)
        crowd = await connect(process.port, ["/subscribe"] * CLIENTS)
        contestants.append(Contestant(NCHAN, process, crowd, await nchan.publisher(process, message)))
    else:
        report.say("nginx with nchan is not installed: left out")
    return contestants


async def ours(
    site: Site, redis: Any, name: str, subscriptions: list[list[Subscription]], server: str = "uvicorn"
) -> Contestant:
    """Start a web process of ours with these sessions; a round publishes one new frame of each of their streams."""
    indicators_of: dict[tuple[str, str], dict[str, None]] = {}
    for symbol, timeframe, indicators in itertools.chain.from_iterable(subscriptions):
        indicators_of.setdefault((symbol, timeframe), {}).update(dict.fromkeys(indicators))
    streams = [FakeStream(*key, list(indicators)) for key, indicators in indicators_of.items()]
    await publish(redis, site.keys, streams)
    process = await asyncio.to_thread(site.web, server)
    crowd = await sessions(process.port, site.paths(len(subscriptions)), subscriptions)

    async def publish_round() -> None:
        await publish(redis, site.keys, streams)

    return Contestant(name, process, crowd, publish_round, per_round=len(subscriptions[0]))


def one_stream(symbol: str) -> list[list[Subscription]]:
    """Return the same single stream for every client."""
    return [[(symbol, "5min", INDICATORS[:PER_VIEW])]] * CLIENTS


def ten_streams() -> list[list[Subscription]]:
    """Return the same ten streams for every client."""
    return [[(f"TEN{number}", "5min", INDICATORS[:PER_VIEW]) for number in range(10)]] * CLIENTS


def fifty_views() -> list[list[Subscription]]:
    """Return one stream for every client, with one of fifty sets of indicators."""
    views = [tuple(INDICATORS[(first + at) % VIEWS] for at in range(PER_VIEW)) for first in range(VIEWS)]
    return [[("VIEWS", "5min", views[client % VIEWS])] for client in range(CLIENTS)]


async def all_of_ours(site: Site, redis: Any) -> list[Contestant]:
    """Start the four variants of our server."""
    return [
        await ours(site, redis, ONE, one_stream("ONE")),
        await ours(site, redis, TEN, ten_streams()),
        await ours(site, redis, MANY, fifty_views()),
        await ours(site, redis, ASGI, one_stream("ASGI"), server="daphne"),
    ]


async def contest(site: Site, report: Report) -> None:
    """Start all servers, measure them in alternation and report the comparison."""
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        report.say("starting ours")
        mine = await all_of_ours(site, redis)
        await mine[0].round()
        message = delivered(mine[0])
        report.say(f"starting the others; a message has {len(message)} bytes")
        contestants = mine + await others(site.rig, report, message)
        place(site.rig, contestants)
        await take_turns(contestants, report)
    compare({contestant.name: contestant.cost for contestant in contestants}, report)


def place(rig: Rig, contestants: list[Contestant]) -> None:
    """Pin the servers to one core, and the clients and Redis to the others.

    Otherwise the scheduler decides by chance, for seconds at a time, whether a server shares its core with the clients.
    A write costs twice as much when it must wake another core, so that chance would decide the comparison.
    """
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        return
    servers = {contestant.server.pid for contestant in contestants}
    for process in rig.processes:
        process.pin({first} if process.pid in servers else set(rest))
    os.sched_setaffinity(0, {first})


def delivered(contestant: Contestant) -> bytes:
    """Return the text of the last message that a client of this server received."""
    data = contestant.crowd.sockets[0].last
    text = data[2:] if data[1] < 126 else data[4:]
    if json.loads(text)["type"] != "market_update":
        raise AssertionError(f"expected a market_update, got {text[:200]!r}")
    return text


async def take_turns(contestants: list[Contestant], report: Report) -> None:
    """Measure every server in short alternating slices, after one slice of warm-up that is not counted."""
    for contestant in contestants:
        await contestant.sample(SLICE_S)
        contestant.spent_s, contestant.updates = 0.0, 0
    for turn in range(SAMPLES):
        for _ in range(SLICES):
            for contestant in contestants:
                await contestant.sample(SLICE_S)
        for contestant in contestants:
            contestant.end_turn()
        costs = ", ".join(f"{contestant.name} {contestant.costs[-1]:.2f}" for contestant in contestants)
        report.say(f"turn {turn + 1} of {SAMPLES}: {costs}")
    for contestant in contestants:
        contestant.check()


def compare(cost: dict[str, float], report: Report) -> None:
    """Report the cost of each server, then the ratios that have a target."""
    for name, value in cost.items():
        report(f"fanout: {name}", value, "µs/update")
    for name, baseline, target in TARGETS:
        if baseline in cost:
            report(f"fanout: {name} (vs {baseline})", cost[name], "µs/update", cost[baseline], target)


def run(report: Report) -> None:
    """Compare our server with the others."""
    with harness.rig(**LIMITS) as rig:
        site = prepare(rig, symbols=["ONE", "ASGI", "VIEWS", *[f"TEN{number}" for number in range(10)]])
        uvloop.run(contest(site, report))
