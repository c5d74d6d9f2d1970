"""Many idle sessions: memory of the web process for each of them, and how soon they are back."""

import asyncio
import time
from typing import Any

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.load.frames import FakeStream, publish
from bench.load.sockets import Crowd
from bench.report import Report
from bench.site import LIMITS, Site, Want, prepare, sessions

IDLE = 5_000
FIRST = 100
"""Sessions there before the first look at the memory: what a process has once is not theirs."""
BACK = 2_000
STREAMS = 50
SETTLE_S = 3.0


def wants(count: int) -> list[list[Want]]:
    """One stream each, spread over all of them."""
    return [[(f"IDLE{at % STREAMS}", "5min", ("RSI_14",))] for at in range(count)]


async def memory(site: Site, process: harness.Process, paths: list[str], report: Report) -> list[Crowd]:
    few = await sessions(process.port, paths[:FIRST], wants(FIRST))
    await asyncio.sleep(SETTLE_S)
    before = process.resident_bytes()
    start, cpu = time.perf_counter(), process.cpu_s()
    rest = await sessions(process.port, paths[FIRST:], wants(IDLE - FIRST))
    rate = (IDLE - FIRST) / (time.perf_counter() - start)
    cost = (process.cpu_s() - cpu) * 1000 / (IDLE - FIRST)
    await asyncio.sleep(SETTLE_S)
    each = (process.resident_bytes() - before) / (IDLE - FIRST)
    report(f"connections: resident per idle session, {IDLE} sessions", each / 1024, "KiB", target="<= 40")
    report("connections: sessions opened and subscribed", rate, "sessions/s")
    report("connections: CPU of the web process to open and subscribe one", cost, "ms/session")
    return [few, rest]


async def reconnect(process: harness.Process, crowds: list[Crowd], report: Report) -> None:
    """Cut so many sockets at one moment, open them again at the next: the same sessions, the same streams."""
    leaving = [member for crowd in crowds for member in crowd.members][:BACK]
    for member in leaving:
        member.abort()
    await asyncio.sleep(0)
    start = time.perf_counter()
    back = await sessions(process.port, [member.path for member in leaving], wants(BACK), at_once=BACK)
    taken = time.perf_counter() - start
    report(
        f"connections: {BACK} sessions subscribed again after reconnecting at once", taken, "s", target="<= 5"
    )
    back.close()


async def connections(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        await announce(site, redis)
        process = await asyncio.to_thread(site.web)
        crowds = await memory(site, process, site.paths(IDLE), report)
        await reconnect(process, crowds, report)
        for crowd in crowds:
            crowd.close()


async def announce(site: Site, redis: Any) -> None:
    """Give each stream its newest frame, so that a snapshot has something to show."""
    await publish(redis, site.keys, [FakeStream(f"IDLE{at}", "5min", ["RSI_14"]) for at in range(STREAMS)])


def run(report: Report) -> None:
    granted = harness.raise_file_limit()
    if granted < 2 * IDLE:
        raise harness.NotStarted(f"{IDLE} sessions need more open files than the {granted} that are allowed")
    with harness.rig(**LIMITS) as rig:
        site = prepare(rig, users=50, symbols=[f"IDLE{at}" for at in range(STREAMS)])
        uvloop.run(connections(site, report))
