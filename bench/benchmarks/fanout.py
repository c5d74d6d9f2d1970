"""CPU of the server process per delivered update, 500 WebSocket clients, beside servers of other kinds.

All servers run at the same time and hold their clients all the while; their turns are interleaved, so that
what else the machine does hits all of them. A round publishes once and ends when every client has read it, so
that no server ever has two rounds to join or to drop. What the others send is the very message that ours
delivers to a session with one stream.
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
from bench.site import LIMITS, Site, Want, prepare, sessions

CLIENTS = 500
SAMPLES = 5
SLICES, SLICE_S = 15, 0.1
"""A turn is shared out in thin slices: a shared machine is at times half as fast, for a second or so."""
ROUND_S = 30.0
PER_VIEW = 3
"""Indicators of one session and stream: its message then has about 600 bytes."""
VIEWS = 50
PICK = [f"SMA_{length}" for length in range(10, 10 + VIEWS)]

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
"""What is compared with what, and the bound of the ratio that is aimed at."""


@dataclass
class Contestant:
    """One server with its clients, and how to publish one round to them."""

    name: str
    server: Process
    crowd: Crowd
    publish: Callable[[], Awaitable[None]]
    per_round: int = 1
    """Updates that every client gets in one round."""
    costs: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    updates: int = 0

    async def round(self) -> None:
        goal = self.crowd.received + len(self.crowd.members) * self.per_round
        await self.publish()
        await self.crowd.until(goal, ROUND_S)

    async def sample(self, seconds: float) -> None:
        """Run rounds for so long and add up what they cost."""
        cpu, received, end = self.server.cpu_s(), self.crowd.received, time.monotonic() + seconds
        while time.monotonic() < end:
            await self.round()
        self.spent_s += self.server.cpu_s() - cpu
        self.updates += self.crowd.received - received

    def end_turn(self) -> None:
        """Note the CPU per update of this turn, in µs."""
        self.costs.append(self.spent_s * 1e6 / self.updates)
        self.spent_s, self.updates = 0.0, 0

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)

    def check(self) -> None:
        """Every client has got exactly the same number of messages: none was lost, doubled or dropped."""
        counts = {member.messages for member in self.crowd.members}
        if len(counts) != 1:
            raise AssertionError(f"{self.name}: clients got {min(counts)} to {max(counts)} messages")


async def others(rig: Rig, report: Report, message: bytes) -> list[Contestant]:
    """The servers beside which ours is measured; those that are not installed are named and left out."""
    made = []
    for name, server in ((DAPHNE, "daphne"), (UVICORN, "uvicorn")):
        process = channels_group.start(rig, server)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        publish = channels_group.publisher(rig, server, message.decode())
        made.append(Contestant(name, process, crowd, publish))
    if node.resolver():
        process, publish_port = node.start(rig)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        made.append(Contestant(NODE, process, crowd, await node.publisher(publish_port, message)))
    else:
        report.say("node or its package ws is not there: left out")
    if nchan.installed():
        process = nchan.start(rig)
        crowd = await connect(process.port, ["/subscribe"] * CLIENTS)
        made.append(Contestant(NCHAN, process, crowd, await nchan.publisher(process, message)))
    else:
        report.say("nginx with nchan is not there: left out")
    return made


async def ours(
    site: Site, redis: Any, name: str, wants: list[list[Want]], server: str = "uvicorn"
) -> Contestant:
    """A web process of ours with these sessions; a round is one new frame of each stream that they have."""
    carried: dict[tuple[str, str], dict[str, None]] = {}
    for symbol, timeframe, indicators in itertools.chain.from_iterable(wants):
        carried.setdefault((symbol, timeframe), {}).update(dict.fromkeys(indicators))
    streams = [FakeStream(*pair, list(indicators)) for pair, indicators in carried.items()]
    await publish(redis, site.keys, streams)
    process = await asyncio.to_thread(site.web, server)
    crowd = await sessions(process.port, site.paths(len(wants)), wants)

    async def publish_round() -> None:
        await publish(redis, site.keys, streams)

    return Contestant(name, process, crowd, publish_round, per_round=len(wants[0]))


def one_stream(symbol: str) -> list[list[Want]]:
    return [[(symbol, "5min", PICK[:PER_VIEW])]] * CLIENTS


def ten_streams() -> list[list[Want]]:
    return [[(f"TEN{at}", "5min", PICK[:PER_VIEW]) for at in range(10)]] * CLIENTS


def fifty_views() -> list[list[Want]]:
    views = [tuple(PICK[(first + at) % VIEWS] for at in range(PER_VIEW)) for first in range(VIEWS)]
    return [[("VIEWS", "5min", views[at % VIEWS])] for at in range(CLIENTS)]


async def all_of_ours(site: Site, redis: Any) -> list[Contestant]:
    return [
        await ours(site, redis, ONE, one_stream("ONE")),
        await ours(site, redis, TEN, ten_streams()),
        await ours(site, redis, MANY, fifty_views()),
        await ours(site, redis, ASGI, one_stream("ASGI"), server="daphne"),
    ]


async def contest(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        report.say("starting ours")
        mine = await all_of_ours(site, redis)
        await mine[0].round()
        message = delivered(mine[0])
        report.say(f"starting the others; a message has {len(message)} bytes")
        contestants = mine + await others(site.rig, report, message)
        place(site.rig, contestants)
        await take_turns(contestants, report)
    results = {each.name: each.cost for each in contestants}
    compare(results, report)


def place(rig: Rig, contestants: list[Contestant]) -> None:
    """Servers on one core, clients and Redis on the others.

    Left to the scheduler a server shares its core with the clients or does not, by chance and for seconds at a time, and
    a write costs twice as much where another core has to be woken: that would be a draw of lots, not a comparison.
    """
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        return
    ours = {each.server.pid for each in contestants}
    for process in rig.processes:
        process.pin({first} if process.pid in ours else set(rest))
    os.sched_setaffinity(0, {first})


def delivered(contestant: Contestant) -> bytes:
    """The text that a client of it was sent last, out of its frame."""
    data = contestant.crowd.members[0].last
    text = data[2:] if data[1] < 126 else data[4:]
    if json.loads(text)["type"] != "market_update":
        raise AssertionError(f"not a market_update: {text[:200]!r}")
    return text


async def take_turns(contestants: list[Contestant], report: Report) -> None:
    for each in contestants:
        await each.sample(SLICE_S)  # warm: not counted
        each.spent_s, each.updates = 0.0, 0
    for turn in range(SAMPLES):
        for _ in range(SLICES):
            for each in contestants:
                await each.sample(SLICE_S)
        for each in contestants:
            each.end_turn()
        report.say(
            f"turn {turn + 1} of {SAMPLES}: " + ", ".join(f"{c.name} {c.costs[-1]:.2f}" for c in contestants)
        )
    for each in contestants:
        each.check()


def compare(cost: dict[str, float], report: Report) -> None:
    """Report each server by itself, then the ratios that are aimed at."""
    for name, value in cost.items():
        report(f"fanout: {name}", value, "µs/update")
    for name, baseline, target in TARGETS:
        if baseline in cost:
            report(f"fanout: {name} (vs {baseline})", cost[name], "µs/update", cost[baseline], target)


def run(report: Report) -> None:
    with harness.rig(**LIMITS) as rig:
        site = prepare(rig, symbols=["ONE", "ASGI", "VIEWS", *[f"TEN{at}" for at in range(10)]])
        uvloop.run(contest(site, report))
