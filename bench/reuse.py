"""Sharing: 200 sessions on 20 symbols with overlapping indicators, five minutes of market in fast motion.

Each session follows some streams and reads `current` again and again. The figures are the server's own, from
``/indicators/metrics``. ``BENCH_REUSE_SPEED`` says how many times faster than the clock the market runs.
"""

import asyncio
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Iterator

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.http_clients import Connection, expect, get, hammer
from bench.report import Report
from bench.site import LIMITS, Site, Want, prepare, sessions
from bench.ticks import TickWriter

SESSIONS, SYMBOLS = 200, 20
MARKET_S = 300
SPEED = float(os.environ.get("BENCH_REUSE_SPEED", "10"))
TICKS_PER_S = 200
READERS = 8
TIMEFRAME = "1min"
POOL = (
    "RSI_14",
    "MACD_12_26_9",
    "BBANDS_20_2",
    "SMA_20",
    "EMA_50",
    "ATR_14",
    "ADX_14",
    "STOCH_14_3_3",
    "VWAP",
)
STREAMS_EACH, INDICATORS_EACH = 3, 4
HISTORY_MIN = 300
NAMES = [f"REUSE{at}" for at in range(SYMBOLS)]


def wants() -> list[list[Want]]:
    """Some symbols and some indicators for each session, always the same ones."""
    rng = random.Random(7)
    return [
        [(symbol, TIMEFRAME, rng.sample(POOL, INDICATORS_EACH)) for symbol in rng.sample(NAMES, STREAMS_EACH)]
        for _ in range(SESSIONS)
    ]


def reading(tokens: list[str], wanted: list[list[Want]]) -> Iterator[bytes]:
    """What the sessions read, in turn, without end."""
    everything = list(itertools.chain.from_iterable(wanted))
    for token, (symbol, timeframe, indicators) in zip(itertools.cycle(tokens), itertools.cycle(everything)):
        yield get(
            f"/indicators/{symbol}/current?timeframe={timeframe}&indicators={','.join(indicators)}", token
        )


def fast_motion() -> Callable[[], int]:
    """A clock that runs `SPEED` times as fast from some minutes ago on, and is right when these are over."""
    begun = time.time()
    first = begun + MARKET_S / SPEED - MARKET_S
    return lambda: int((first + (time.time() - begun) * SPEED) * 1000)


async def reuse(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis, asyncio.TaskGroup() as tasks:
        writer = TickWriter(redis, site.keys, NAMES, TICKS_PER_S)
        web = await asyncio.to_thread(site.web)
        for worker in ("feed", "compute"):
            site.worker(worker)
        await writer.write(SYMBOLS)
        wanted = wants()
        crowd = await sessions(web.port, site.paths(SESSIONS), wanted)
        writer.market_ms = fast_motion()
        ticking = tasks.create_task(writer.run())
        seconds = MARKET_S / SPEED
        answers = await hammer(web.port, reading(site.tokens, wanted), READERS, seconds)
        ticking.cancel()
        await tell(site, web.port, len(answers), report)
        crowd.close()


async def tell(site: Site, port: int, reads: int, report: Report) -> None:
    """The server's own figures, while all sessions are still there."""
    connection = await Connection.open(port)
    answer = expect(200)(await connection.request(get("/indicators/metrics", site.tokens[0])))
    figures = json.loads(answer.body)
    report.say(f"{reads} reads; the server says {answer.body.decode()}")
    report("reuse: cache hit rate", figures["cache"]["hit_rate"], "of 1", target="> 0.95")
    report("reuse: users per computation", figures["users_per_computation"], "sessions", target="> 3")
    report("reuse: uses of a value per computation of it", figures["reuse_ratio"], "uses", target="> 10")


def run(report: Report) -> None:
    with harness.rig(**LIMITS, FEED="external") as rig:
        uvloop.run(reuse(prepare(rig, symbols=NAMES), report))
