"""REST: a cached `current` beside an empty view in the same process, the cold miss, subscribing."""

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
"""One of the simulated feed's instruments, with its whole history there from the start."""
WARM, READS = 200, 2_000
MISSES = 100
SUBSCRIBERS = 64
SUBSCRIBE_S = 6.0
READY_S = 60.0
FIVE = ("RSI_14", "MACD_12_26_9", "BBANDS_20_2", "EMA_50", "ATR_14")


def current(indicators: str) -> str:
    return f"/indicators/{SYMBOL}/current?timeframe={TIMEFRAME}&indicators={indicators}"


async def ready(port: int, token: str) -> None:
    """Wait until feed and compute are there: the first value comes."""
    connection, end = await Connection.open(port), time.monotonic() + READY_S
    while (answer := await connection.request(get(current("SMA_3"), token))).status != 200:
        if time.monotonic() > end:
            expect(200)(answer)
        await asyncio.sleep(0.2)


async def cached(port: int, token: str, report: Report) -> None:
    """Hits and empty answers in turn, on one connection."""
    hit, empty = get(current("RSI_14"), token), get("/bench/empty", token)
    times: dict[bytes, list[float]] = {hit: [], empty: []}
    outcomes: list[str] = []
    connection = await Connection.open(port)
    for _ in range(WARM + READS):
        for request in (hit, empty):
            answer = expect(200)(await connection.request(request))
            times[request].append(answer.seconds * 1000)
            if request is hit:
                outcomes.append(answer.header("x-cache"))
    for request in times:
        del times[request][:WARM]
    share = outcomes[WARM:].count("hit") / READS
    report("rest: cached current, share of hits", share, "of 1")
    for name, point in (("p50", 0.5), ("p99", 0.99)):
        beside = percentile(times[empty], point)
        report(f"rest: empty view {name}", beside, "ms")
        mine = percentile(times[hit], point)
        report(f"rest: cached current {name} (vs empty view)", mine, "ms", beside, target="<= 1.5")


async def lookup(site: Site, report: Report) -> None:
    """The same value, read as the view reads it, in a process of its own."""
    printed = await asyncio.to_thread(site.rig.call, "-m", "bench.lookup", SYMBOL, TIMEFRAME, "RSI_14")
    taken = json.loads(printed)
    report("rest: cache lookup p50", percentile(taken, 0.5), "ms")
    report("rest: cache lookup p99", percentile(taken, 0.99), "ms", target="< 1")


async def cold(port: int, token: str, report: Report) -> None:
    """Indicators that nobody asked for before, one after another."""
    taken, connection = [], await Connection.open(port)
    for length in range(10, 10 + MISSES):
        answer = expect(200)(await connection.request(get(current(f"WMA_{length}"), token)))
        if answer.header("x-cache") != "miss":
            raise AssertionError(f"WMA_{length} was no miss: {answer.head!r}")
        taken.append(answer.seconds * 1000)
    report("rest: cold miss p50", percentile(taken, 0.5), "ms", target="<= 25")
    report("rest: cold miss p99", percentile(taken, 0.99), "ms")


def subscribing(tokens: list[str]) -> Iterator[bytes]:
    """Requests without end, each of a session of its own, with five indicators."""
    for token in itertools.cycle(tokens):
        body = {"symbol": SYMBOL, "timeframe": TIMEFRAME, "indicators": FIVE, "session_id": str(uuid.uuid4())}
        yield post("/indicators/subscribe", token, json.dumps(body).encode())


async def subscribe(site: Site, web: Process, database: str, report: Report) -> None:
    await hammer(web.port, subscribing(site.tokens), SUBSCRIBERS, 1.0)  # warm
    start, cpu = time.perf_counter(), web.cpu_s()
    answers: list[Answer] = await hammer(web.port, subscribing(site.tokens), SUBSCRIBERS, SUBSCRIBE_S)
    rate, cpu = len(answers) / (time.perf_counter() - start), web.cpu_s() - cpu
    for answer in answers:
        expect(200)(answer)
    name = f"rest: subscribe to 5 indicators, after commit, {database}"
    report(name, rate, "requests/s", target=">= 400")
    report(f"{name}, CPU of the web process", cpu * 1000 / len(answers), "ms/request")
    report(f"{name}, p99", percentile([each.seconds * 1000 for each in answers], 0.99), "ms")


async def reads(site: Site, report: Report) -> None:
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
    """The same with PostgreSQL; feed and compute run here too, for they take their share of the two cores."""
    process = await asyncio.to_thread(site.web)
    for worker in ("feed", "compute"):
        site.worker(worker)
    await ready(process.port, site.tokens[0])
    await subscribe(site, process, "PostgreSQL", report)


def run(report: Report) -> None:
    with harness.rig(**LIMITS, FEED="simulated") as rig:
        uvloop.run(reads(prepare(rig), report))
    if postgres.binaries() is None:
        report.say("no PostgreSQL in /usr/lib/postgresql that root may run as nobody: left out")
        return
    with harness.rig(**LIMITS, FEED="simulated") as rig:
        rig.env["DATABASE_URL"] = postgres.start(rig)
        uvloop.run(writes(prepare(rig), report))
