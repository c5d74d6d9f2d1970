"""Measure the latency from tick to client with 500 sessions, 100 symbols, 1,000 ticks a second and real processes.

A tick is recognised by its price in the frames that a session reads. ``after the flush`` counts from the time at which
the feed announced the frame's flush, so that it leaves out the wait for the flush. ``BENCH_LATENCY_S`` sets the seconds
of measurement, ``BENCH_STALL_S`` the seconds for which one session does not read.
"""

import asyncio
import bisect
import itertools
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
from bench.site import LIMITS, Site, Subscription, prepare, sessions

SESSIONS, SYMBOLS, TICKS_PER_S = 500, 100, 1_000
INDICATORS = ("RSI_14", "EMA_50")
TIMEFRAME = "1min"
MEASURE_S = float(os.environ.get("BENCH_LATENCY_S", "20"))
STALL_S = float(os.environ.get("BENCH_STALL_S", "60"))
WARM_S = 5.0
"""Seconds that the processes run before the measurement."""
READY_S = 60.0
"""Seconds within which the first tick must have reached a client."""
RESUME_S = 10.0
"""Seconds within which a session that reads again must have the newest price."""
POLL_S = 0.05
FLUSH_MS = int(os.environ.get("FEED_FLUSH_MS") or 100)
NAMES = [f"LAT{at}" for at in range(SYMBOLS)]


@dataclass
class Recorder:
    """Record of all messages with their times; they are decoded only afterwards, so that reading stays cheap."""

    read: list[tuple[float, bytes]] = field(default_factory=list)
    flushes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def on_text(self, socket: Socket, payload: bytes) -> None:
        """Record a message of a session."""
        self.read.append((time.time(), payload))

    async def follow(self, redis: Any, channel: str) -> None:
        """Record the time of each flush by symbol."""
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    flush = json.loads(message["data"])
                    for symbol in flush["symbols"]:
                        self.flushes[symbol].append(flush["ts"] / 1000)


@dataclass
class Latencies:
    """Latencies in ms: tick to client, flush to client, and flush to the start of the computation."""

    tick: list[float] = field(default_factory=list)
    flush: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)


def latencies(recorder: Recorder, writer: TickWriter) -> Latencies:
    """Return the latencies of all recorded frames whose price is one of the written ticks."""
    found = Latencies()
    for received, payload in recorder.read:
        message = orjson.loads(payload)
        if message["type"] != "market_update":
            continue
        written = writer.written[message["symbol"]].get(message["ohlcv"]["close"])
        computed = datetime.fromisoformat(message["timestamp"]).timestamp()
        flush = flush_before(recorder.flushes[message["symbol"]], computed)
        if written is not None and flush is not None:
            found.tick.append((received - written) * 1000)
            found.flush.append((received - flush) * 1000)
            found.compute.append((computed - flush) * 1000)
    return found


def flush_before(flushes: list[float], computed: float) -> float | None:
    """Return the time of the last flush before a frame was computed; the times are whole milliseconds."""
    count = bisect.bisect_right(flushes, computed + 0.001)
    return flushes[count - 1] if count else None


@dataclass
class StalledSession:
    """Session that subscribes to every stream, so that many messages wait for it when it stops reading."""

    socket: Socket
    lagged: int = 0
    newest: float = 0.0
    """The newest price that it has read."""

    def on_text(self, socket: Socket, payload: bytes) -> None:
        """Count messages of type lagged and remember the newest price."""
        message = orjson.loads(payload)
        self.lagged += message["type"] == "lagged"
        if message["type"] == "market_update" and message["symbol"] == NAMES[0]:
            self.newest = message["ohlcv"]["close"]


def subscriptions() -> list[list[Subscription]]:
    """Return one stream for each session except the last, which has all streams."""
    names = itertools.islice(itertools.cycle(NAMES), SESSIONS - 1)
    singles: list[list[Subscription]] = [[(name, TIMEFRAME, INDICATORS)] for name in names]
    return [*singles, [(name, TIMEFRAME, INDICATORS) for name in NAMES]]


async def measure(recorder: Recorder, writer: TickWriter, seconds: float) -> Latencies:
    """Record messages for a while and return their latencies."""
    recorder.read.clear()
    await asyncio.sleep(seconds)
    return latencies(recorder, writer)


def report_percentiles(found: Latencies, kind: str, report: Report, target: str | None = None) -> None:
    """Report the percentiles of the three latencies."""
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        report(f"latency: tick to client {name}{kind}", percentile(found.tick, share), "ms")
        bound = target if name == "p99" else None
        report(f"latency: after the flush {name}{kind}", percentile(found.flush, share), "ms", target=bound)
        compute = percentile(found.compute, share)
        report(f"latency: of that, until compute took it up {name}{kind}", compute, "ms")


async def stall(
    stalled: StalledSession,
    recorder: Recorder,
    writer: TickWriter,
    web: Process,
    calm: Latencies,
    report: Report,
) -> None:
    """Stop one session's reading for a while; the others must not notice, and the session must catch up."""
    before = web.resident_bytes()
    stalled.socket.pause()
    found = await measure(recorder, writer, STALL_S)
    grown = web.resident_bytes() - before
    kind = f", 1 of {SESSIONS} stalled {STALL_S:.0f} s"
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        baseline, value = percentile(calm.flush, share), percentile(found.flush, share)
        report(f"latency: after the flush {name}{kind} (vs nobody stalled)", value, "ms", baseline)
    report(f"latency: memory of the web process grew by{kind}", grown / 1024, "KiB", target="<= 1024")
    stalled.socket.resume()
    caught_up = await within(RESUME_S, lambda: stalled.lagged > 0 and stalled.newest in recent(writer))
    report("latency: stalled session told lagged", stalled.lagged, "messages", target=">= 1")
    report("latency: stalled session has the newest price again", float(caught_up), "of 1", target=">= 1")
    if stalled.socket.closed is not None:
        report.say(f"the stalled session was closed with {stalled.socket.closed}")


def recent(writer: TickWriter) -> list[float]:
    """Return the prices of about the last second."""
    return list(writer.written[NAMES[0]])[-TICKS_PER_S // SYMBOLS :]


async def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for the condition; return whether it became true before the time was over."""
    for _ in range(int(seconds / POLL_S)):
        if condition():
            return True
        await asyncio.sleep(POLL_S)
    return condition()


async def ready(recorder: Recorder, writer: TickWriter) -> None:
    """Wait until the clients receive frames of our ticks."""

    def arrived() -> bool:
        return len(recorder.read) > SESSIONS and bool(latencies(recorder, writer).tick)

    if not await within(READY_S, arrived):
        raise harness.NotStarted(f"expected a frame of a written tick within {READY_S} s, none came")
    await asyncio.sleep(WARM_S)


async def latency(site: Site, report: Report) -> None:
    """Start all processes and measure without and with a stalled session."""
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis, asyncio.TaskGroup() as tasks:
        writer, recorder = TickWriter(redis, site.keys, NAMES, TICKS_PER_S), Recorder()
        await writer.write(SYMBOLS)
        web = await asyncio.to_thread(site.web)
        for worker in ("feed", "compute"):
            site.worker(worker)
        running = [
            tasks.create_task(writer.run()),
            tasks.create_task(recorder.follow(redis, site.keys.bar_updates)),
        ]
        crowd = await sessions(web.port, site.paths(SESSIONS), subscriptions())
        stalled = StalledSession(crowd.sockets[-1])
        for socket in crowd.sockets[:-1]:
            socket.on_text = recorder.on_text
        stalled.socket.on_text = stalled.on_text
        await ready(recorder, writer)
        calm = await measure(recorder, writer, MEASURE_S)
        report("latency: flush interval of the feed", FLUSH_MS, "ms")
        report("latency: frames read", len(calm.tick) / MEASURE_S, "frames/s")
        report_percentiles(calm, "", report, target="<= 20")
        await stall(stalled, recorder, writer, web, calm, report)
        for task in running:
            task.cancel()
        crowd.close()


def run(report: Report) -> None:
    """Measure the latency with the external feed."""
    with harness.rig(**LIMITS, FEED="external") as rig:
        uvloop.run(latency(prepare(rig, symbols=NAMES), report))
