"""CPU of the server process per delivered update, 500 WebSocket clients, beside servers of other kinds.

All servers run at the same time and hold their clients all the while; their turns are interleaved, so that what else
the machine does hits all of them. A round publishes once and ends when every client has read it, so that no server
ever has two rounds to join or to drop. What the others send is the very message that ours delivers to a session with
one stream.
"""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop

from bench import harness
from bench.baselines import channels_group, nchan, node
from bench.harness import Process, Rig
from bench.report import Report
from bench.sockets import Crowd, connect

CLIENTS = 500
SAMPLES = 5
SAMPLE_S = 1.5
ROUND_S = 30.0


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

    async def round(self) -> None:
        goal = self.crowd.received + len(self.crowd.members) * self.per_round
        await self.publish()
        await self.crowd.until(goal, ROUND_S)

    async def sample(self, seconds: float) -> None:
        """Run rounds for so long and note the CPU per update, in µs."""
        cpu, received, end = self.server.cpu_s(), self.crowd.received, time.monotonic() + seconds
        while time.monotonic() < end:
            await self.round()
        self.costs.append((self.server.cpu_s() - cpu) * 1e6 / (self.crowd.received - received))

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
    for server in ("daphne", "uvicorn"):
        process = channels_group.start(rig, server)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        publish = channels_group.publisher(rig, server, message.decode())
        made.append(Contestant(f"Channels group_send on {server}", process, crowd, publish))
    if node.resolver():
        process, publish_port = node.start(rig)
        crowd = await connect(process.port, ["/"] * CLIENTS)
        made.append(Contestant("Node ws", process, crowd, await node.publisher(publish_port, message)))
    else:
        report.say("node or its package ws is not there: left out")
    if nchan.installed():
        process = nchan.start(rig)
        crowd = await connect(process.port, ["/subscribe"] * CLIENTS)
        made.append(Contestant("nchan", process, crowd, await nchan.publisher(process, message)))
    else:
        report.say("nginx with nchan is not there: left out")
    return made


async def contest(rig: Rig, report: Report) -> None:
    contestants = await others(rig, report, b'{"x":"' + b"x" * 590 + b'"}')
    for each in contestants:
        await each.sample(SAMPLE_S / 5)
        each.costs.clear()
    for turn in range(SAMPLES):
        for each in contestants:
            await each.sample(SAMPLE_S)
        report.say(
            f"turn {turn + 1} of {SAMPLES}: " + ", ".join(f"{c.name} {c.costs[-1]:.2f}" for c in contestants)
        )
    for each in contestants:
        each.check()
        report(each.name, each.cost, "µs/update")


def run(report: Report) -> None:
    with harness.rig() as rig:
        uvloop.run(contest(rig, report))
