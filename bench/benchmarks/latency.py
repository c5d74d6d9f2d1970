"""From the tick to the client: 500 sessions, 100 symbols, 1,000 ticks a second, every process of it real.

A tick is known by its price, so that what a session reads tells which tick it was. ``after the flush`` counts from the
time at which the feed announced the flush that the frame came from, so without the wait for the flush.
``BENCH_LATENCY_S`` and ``BENCH_STALL_S`` set how long it is watched and how long one session does not read.
"""

import asyncio
import bisect
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.harness import Process
from bench.load.sockets import Socket
from bench.load.ticks import TickWriter
from bench.report import Report, percentile
from bench.site import LIMITS, Site, Want, prepare, sessions

SESSIONS, SYMBOLS, TICKS_PER_S = 500, 100, 1_000
INDICATORS = ("RSI_14", "EMA_50")
TIMEFRAME = "1min"
WATCH_S = float(os.environ.get("BENCH_LATENCY_S", "20"))
STALL_S = float(os.environ.get("BENCH_STALL_S", "60"))
WARM_S = 5.0
READY_S = 60.0
RESUME_S = 10.0
LOOK_S = 0.05
FLUSH_MS = int(os.environ.get("FEED_FLUSH_MS") or 100)
NAMES = [f"LAT{at}" for at in range(SYMBOLS)]


@dataclass
class Watch:
    """Notes when each message came; they are looked into only afterwards, so that reading stays cheap."""

    read: list[tuple[float, bytes]] = field(default_factory=list)
    flushes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def on_text(self, socket: Socket, payload: bytes) -> None:
        self.read.append((time.time(), payload))

    async def follow(self, redis: Any, channel: str) -> None:
        """Note the time of each flush, by symbol."""
        async with redis.pubsub() as announced:
            await announced.subscribe(channel)
            async for message in announced.listen():
                if message["type"] == "message":
                    flush = json.loads(message["data"])
                    for symbol in flush["symbols"]:
                        self.flushes[symbol].append(flush["ts"] / 1000)


@dataclass
class Lags:
    """In ms: from the tick to the client, from its flush to the client, and of that until compute took it up."""

    tick: list[float] = field(default_factory=list)
    flush: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)


def lags(watch: Watch, writer: TickWriter) -> Lags:
    """Of each frame whose price is a tick that was written while we watched."""
    found = Lags()
    for came, payload in watch.read:
        message = orjson.loads(payload)
        if message["type"] != "market_update":
            continue
        written = writer.written[message["symbol"]].get(message["ohlcv"]["close"])
        made = datetime.fromisoformat(message["timestamp"]).timestamp()
        flush = flush_of(watch.flushes[message["symbol"]], made)
        if written is not None and flush is not None:
            found.tick.append((came - written) * 1000)
            found.flush.append((came - flush) * 1000)
            found.taken.append((made - flush) * 1000)
    return found


def flush_of(flushes: list[float], made: float) -> float | None:
    """The flush from which a frame was made at that time: the last one before it (times are whole ms)."""
    at = bisect.bisect_right(flushes, made + 0.001)
    return flushes[at - 1] if at else None


@dataclass
class Stalled:
    """One session that has every stream, so that much piles up when it stops reading."""

    socket: Socket
    lagged: int = 0
    newest: float = 0.0
    """The newest price that it has read."""

    def on_text(self, socket: Socket, payload: bytes) -> None:
        message = orjson.loads(payload)
        self.lagged += message["type"] == "lagged"
        if message["type"] == "market_update" and message["symbol"] == NAMES[0]:
            self.newest = message["ohlcv"]["close"]


def wants() -> list[list[Want]]:
    """One stream for each session but the last, which has all of them."""
    singles: list[list[Want]] = [[(NAMES[at % SYMBOLS], TIMEFRAME, INDICATORS)] for at in range(SESSIONS - 1)]
    return [*singles, [(name, TIMEFRAME, INDICATORS) for name in NAMES]]


async def watched(watch: Watch, writer: TickWriter, seconds: float) -> Lags:
    watch.read.clear()
    await asyncio.sleep(seconds)
    return lags(watch, writer)


def tell(found: Lags, kind: str, report: Report, target: str | None = None) -> None:
    """Percentiles of one watch."""
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        report(f"latency: tick to client {name}{kind}", percentile(found.tick, share), "ms")
        bound = target if name == "p99" else None
        report(f"latency: after the flush {name}{kind}", percentile(found.flush, share), "ms", target=bound)
        report(
            f"latency: of that, until compute took it up {name}{kind}", percentile(found.taken, share), "ms"
        )


async def stall(
    stalled: Stalled, watch: Watch, writer: TickWriter, web: Process, calm: Lags, report: Report
) -> None:
    """One session does not read for a while; the others must not notice, and it must catch up."""
    before = web.resident_bytes()
    stalled.socket.pause()
    found = await watched(watch, writer, STALL_S)
    grown = web.resident_bytes() - before
    kind = f", 1 of {SESSIONS} stalled {STALL_S:.0f} s"
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        beside, mine = percentile(calm.flush, share), percentile(found.flush, share)
        report(f"latency: after the flush {name}{kind} (vs nobody stalled)", mine, "ms", beside)
    report(f"latency: memory of the web process grew by{kind}", grown / 1024, "KiB", target="<= 1024")
    stalled.socket.resume()
    caught_up = await within(RESUME_S, lambda: stalled.lagged > 0 and stalled.newest in recent(writer))
    report("latency: stalled session told lagged", stalled.lagged, "messages", target=">= 1")
    report("latency: stalled session has the newest price again", float(caught_up), "of 1", target=">= 1")
    if stalled.socket.closed is not None:
        report.say(f"the stalled session was closed with {stalled.socket.closed}")


def recent(writer: TickWriter) -> list[float]:
    """The prices of about the last second."""
    return list(writer.written[NAMES[0]])[-TICKS_PER_S // SYMBOLS :]


async def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition holds before so much time is over."""
    for _ in range(int(seconds / LOOK_S)):
        if condition():
            return True
        await asyncio.sleep(LOOK_S)
    return condition()


async def ready(watch: Watch, writer: TickWriter) -> None:
    """Wait until frames come that hold our ticks."""
    if not await within(READY_S, lambda: len(watch.read) > SESSIONS and bool(lags(watch, writer).tick)):
        raise harness.NotStarted("no tick came out at the other side")
    await asyncio.sleep(WARM_S)


async def latency(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis, asyncio.TaskGroup() as tasks:
        writer, watch = TickWriter(redis, site.keys, NAMES, TICKS_PER_S), Watch()
        await writer.write(SYMBOLS)
        web = await asyncio.to_thread(site.web)
        for worker in ("feed", "compute"):
            site.worker(worker)
        running = [
            tasks.create_task(writer.run()),
            tasks.create_task(watch.follow(redis, site.keys.bar_updates)),
        ]
        crowd = await sessions(web.port, site.paths(SESSIONS), wants())
        stalled = Stalled(crowd.members[-1])
        for member in crowd.members[:-1]:
            member.on_text = watch.on_text
        stalled.socket.on_text = stalled.on_text
        await ready(watch, writer)
        calm = await watched(watch, writer, WATCH_S)
        report("latency: flush interval of the feed", FLUSH_MS, "ms")
        report("latency: frames read", len(calm.tick) / WATCH_S, "frames/s")
        tell(calm, "", report, target="<= 20")
        await stall(stalled, watch, writer, web, calm, report)
        for task in running:
            task.cancel()
        crowd.close()


def run(report: Report) -> None:
    with harness.rig(**LIMITS, FEED="external") as rig:
        uvloop.run(latency(prepare(rig, symbols=NAMES), report))
