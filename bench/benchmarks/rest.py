"""Measure REST: a cached `current` compared with an empty view of the same process, a cold miss, and subscribing."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Iterator

import uvloop

from bench import harness, postgres
from bench.harness import Process
from bench.load.http_clients import Answer, Connection, expect, get, hammer, post
from bench.report import Report, percentile
from bench.site import LIMITS, Site, prepare

SYMBOL, TIMEFRAME = "NIFTY50", "5min"
"""Instrument of the simulated feed, which has its whole history from the start."""
WARM_UP, READS = 200, 2_000
MISSES = 100
SUBSCRIBERS = 64
"""Number of connections that send subscribe requests at the same time."""
SUBSCRIBE_S = 6.0
READY_S = 60.0
"""Seconds within which the first value must be there."""
FIVE = ("RSI_14", "MACD_12_26_9", "BBANDS_20_2", "EMA_50", "ATR_14")


def current(indicators: str) -> str:
    """Return the path of a read of current values."""
    return f"/indicators/{SYMBOL}/current?timeframe={TIMEFRAME}&indicators={indicators}"


async def ready(port: int, token: str) -> None:
    """Wait until the feed and compute answer a read with a value."""
    connection, end = await Connection.open(port), time.monotonic() + READY_S
    while (answer := await connection.request(get(current("SMA_3"), token))).status != 200:
        if time.monotonic() > end:
            expect(200)(answer)
        await asyncio.sleep(0.2)


async def cached(port: int, token: str, report: Report) -> None:
    """Measure cache hits and the empty view in alternation on one connection."""
    hit, empty = get(current("RSI_14"), token), get("/bench/empty", token)
    times: dict[bytes, list[float]] = {hit: [], empty: []}
    outcomes: list[str] = []
    connection = await Connection.open(port)
    for _ in range(WARM_UP + READS):
        for request in (hit, empty):
            answer = expect(200)(await connection.request(request))
            times[request].append(answer.seconds * 1000)
            if request is hit:
                outcomes.append(answer.header("x-cache"))
    for request in times:
        del times[request][:WARM_UP]
    share = outcomes[WARM_UP:].count("hit") / READS
    report("rest: cached current, share of hits", share, "of 1")
    for name, point in (("p50", 0.5), ("p99", 0.99)):
        baseline = percentile(times[empty], point)
        report(f"rest: empty view {name}", baseline, "ms")
        value = percentile(times[hit], point)
        report(f"rest: cached current {name} (vs empty view)", value, "ms", baseline, target="<= 1.5")


async def lookup(site: Site, report: Report) -> None:
    """Measure the cache look-up behind the view in a separate process."""
    printed = await asyncio.to_thread(site.rig.call, "-m", "bench.lookup", SYMBOL, TIMEFRAME, "RSI_14")
    durations = json.loads(printed)
    report("rest: cache lookup p50", percentile(durations, 0.5), "ms")
    report("rest: cache lookup p99", percentile(durations, 0.99), "ms", target="< 1")


async def cold(port: int, token: str, report: Report) -> None:
    """Read indicators that were never requested before, one after another."""
    durations, connection = [], await Connection.open(port)
    for length in range(10, 10 + MISSES):
        answer = expect(200)(await connection.request(get(current(f"WMA_{length}"), token)))
        if answer.header("x-cache") != "miss":
            raise AssertionError(f"expected a cache miss for WMA_{length}, got {answer.head!r}")
        durations.append(answer.seconds * 1000)
    report("rest: cold miss p50", percentile(durations, 0.5), "ms", target="<= 25")
    report("rest: cold miss p99", percentile(durations, 0.99), "ms")


def subscribing(tokens: list[str]) -> Iterator[bytes]:
    """Yield subscribe requests without end; each is for a new session and five indicators."""
    for token in itertools.cycle(tokens):
        body = {"symbol": SYMBOL, "timeframe": TIMEFRAME, "indicators": FIVE, "session_id": str(uuid.uuid4())}
        yield post("/indicators/subscribe", token, json.dumps(body).encode())


async def subscribe(site: Site, web: Process, database: str, report: Report) -> None:
    """Send subscribe requests on many connections and report their rate, CPU time and latency."""
    await hammer(web.port, subscribing(site.tokens), SUBSCRIBERS, 1.0)  # warm-up, which is not counted
    start, cpu = time.perf_counter(), web.cpu_s()
    answers: list[Answer] = await hammer(web.port, subscribing(site.tokens), SUBSCRIBERS, SUBSCRIBE_S)
    rate, cpu = len(answers) / (time.perf_counter() - start), web.cpu_s() - cpu
    for answer in answers:
        expect(200)(answer)
    name = f"rest: subscribe to 5 indicators, after commit, {database}"
    report(name, rate, "requests/s", target=">= 400")
    report(f"{name}, CPU of the web process", cpu * 1000 / len(answers), "ms/request")
    report(f"{name}, p99", percentile([answer.seconds * 1000 for answer in answers], 0.99), "ms")


async def reads(site: Site, report: Report) -> None:
    """Measure reads and subscribing with SQLite."""
    process = await asyncio.to_thread(site.web, settings="bench.baselines.settings")
    for worker in ("feed", "compute"):
        site.worker(worker)
    token = site.tokens[0]
    await ready(process.port, token)
    await cached(process.port, token, report)
    await lookup(site, report)
    await cold(process.port, token, report)
    await subscribe(site, process, "SQLite", report)


async def writes(site: Site, report: Report) -> None:
    """Measure subscribing with PostgreSQL; feed and compute run as well, because they use the CPU in production too."""
    process = await asyncio.to_thread(site.web)
    for worker in ("feed", "compute"):
        site.worker(worker)
    await ready(process.port, site.tokens[0])
    await subscribe(site, process, "PostgreSQL", report)


def run(report: Report) -> None:
    """Measure with SQLite, then with PostgreSQL where it is installed."""
    with harness.rig(**LIMITS, FEED="simulated") as rig:
        uvloop.run(reads(prepare(rig), report))
    if postgres.binaries() is None:
        report.say("PostgreSQL in /usr/lib/postgresql, root and setpriv are needed: PostgreSQL is left out")
        return
    with harness.rig(**LIMITS, FEED="simulated") as rig:
        rig.env["DATABASE_URL"] = postgres.start(rig)
        uvloop.run(writes(prepare(rig), report))
