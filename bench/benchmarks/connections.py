"""Measure many idle sessions: the web process's memory per session, and the time of a reconnect of all at once."""

import asyncio
import time
from typing import Any

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.load.frames import FakeStream, publish
from bench.load.sockets import Crowd
from bench.report import Report
from bench.site import LIMITS, Site, Subscription, prepare, sessions

IDLE = 5_000
FIRST = 100
"""Sessions opened before the first measurement, so that memory that a process needs only once is not counted."""
RECONNECTED = 2_000
STREAMS = 50
SETTLE_S = 3.0
"""Seconds of idle time before the memory is read."""


def subscriptions(count: int) -> list[list[Subscription]]:
    """Return one stream for each session, evenly distributed over all streams."""
    return [[(f"IDLE{number % STREAMS}", "5min", ("RSI_14",))] for number in range(count)]


async def memory(site: Site, process: harness.Process, paths: list[str], report: Report) -> list[Crowd]:
    """Open the idle sessions and report the memory, the rate and the CPU time of each."""
    few = await sessions(process.port, paths[:FIRST], subscriptions(FIRST))
    await asyncio.sleep(SETTLE_S)
    before = process.resident_bytes()
    start, cpu = time.perf_counter(), process.cpu_s()
    rest = await sessions(process.port, paths[FIRST:], subscriptions(IDLE - FIRST))
    rate = (IDLE - FIRST) / (time.perf_counter() - start)
    cost = (process.cpu_s() - cpu) * 1000 / (IDLE - FIRST)
    await asyncio.sleep(SETTLE_S)
    used = (process.resident_bytes() - before) / (IDLE - FIRST)
    report(f"connections: resident per idle session, {IDLE} sessions", used / 1024, "KiB", target="<= 40")
    report("connections: sessions opened and subscribed", rate, "sessions/s")
    report("connections: CPU of the web process to open and subscribe one", cost, "ms/session")
    return [few, rest]


async def reconnect(process: harness.Process, crowds: list[Crowd], report: Report) -> None:
    """Break many connections at once, then reconnect the same sessions to the same streams and report the time."""
    paths = [socket.path for crowd in crowds for socket in crowd.sockets][:RECONNECTED]
    for socket in [socket for crowd in crowds for socket in crowd.sockets][:RECONNECTED]:
        socket.abort()
    await asyncio.sleep(0)
    start = time.perf_counter()
    crowd = await sessions(process.port, paths, subscriptions(RECONNECTED), at_once=RECONNECTED)
    duration = time.perf_counter() - start
    name = f"connections: {RECONNECTED} sessions subscribed again after reconnecting at once"
    report(name, duration, "s", target="<= 5")
    crowd.close()


async def connections(site: Site, report: Report) -> None:
    """Start a web process and run both measurements."""
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        await announce(site, redis)
        process = await asyncio.to_thread(site.web)
        crowds = await memory(site, process, site.paths(IDLE), report)
        await reconnect(process, crowds, report)
        for crowd in crowds:
            crowd.close()


async def announce(site: Site, redis: Any) -> None:
    """Publish a frame of each stream, which its snapshots then contain."""
    streams = [FakeStream(f"IDLE{number}", "5min", ["RSI_14"]) for number in range(STREAMS)]
    await publish(redis, site.keys, streams)


def run(report: Report) -> None:
    """Measure the idle sessions of one web process."""
    granted = harness.raise_file_limit()
    if granted < 2 * IDLE:
        raise harness.NotStarted(
            f"{IDLE} sessions need {2 * IDLE} open files, but only {granted} are allowed"
        )
    with harness.rig(**LIMITS) as rig:
        site = prepare(rig, users=50, symbols=[f"IDLE{number}" for number in range(STREAMS)])
        uvloop.run(connections(site, report))
