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
from collections.abc import Iterator

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.load.http_clients import Connection, expect, get, hammer
from bench.load.playback import Playback, walk
from bench.report import Report
from bench.site import LIMITS, Site, Want, prepare, sessions
from stocksblitz.market.core.bars import MINUTE_MS, Bar

SESSIONS, SYMBOLS = 200, 20
MARKET_S = 300
SPEED = float(os.environ.get("BENCH_REUSE_SPEED", "10"))
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
HISTORY = 600
SETTLE_S = 3.0
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


class Market:
    """All symbols, one second of theirs per flush; a bar closes every sixty flushes."""

    def __init__(self, feed: Playback) -> None:
        start = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS - (HISTORY + MARKET_S // 60) * MINUTE_MS
        self.feed, self.flushes = feed, 0
        self.bars = {
            symbol: walk(seed, HISTORY + MARKET_S // 60 + 1, start) for seed, symbol in enumerate(NAMES)
        }

    async def begin(self) -> None:
        await self.feed.begin({symbol: bars[:HISTORY] for symbol, bars in self.bars.items()})
        await self.flush()

    async def flush(self) -> None:
        minute, second = divmod(self.flushes, 60)
        if minute and not second:
            await self.feed.close(
                {symbol: [bars[HISTORY + minute - 1]] for symbol, bars in self.bars.items()}
            )
        share = (second + 1) / 60
        await self.feed.form(
            {symbol: part(bars[HISTORY + minute], share) for symbol, bars in self.bars.items()}
        )
        await self.feed.tell()
        self.flushes += 1

    async def run(self) -> None:
        """Until the market time is over."""
        while self.flushes < MARKET_S:
            await asyncio.gather(self.flush(), asyncio.sleep(1 / SPEED))


def part(bar: Bar, share: float) -> Bar:
    """A bar as it stands when so much of its time has passed."""
    close = bar.open + (bar.close - bar.open) * share
    return bar._replace(
        high=max(bar.open, close), low=min(bar.open, close), close=close, volume=bar.volume * share
    )


async def reuse(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        market, wanted = Market(Playback(redis, site.keys, TIMEFRAME)), wants()
        await market.begin()
        site.worker("compute")
        web = await asyncio.to_thread(site.web)
        crowd = await sessions(web.port, site.paths(SESSIONS), wanted)
        reads = hammer(web.port, reading(site.tokens, wanted), READERS, MARKET_S / SPEED)
        answers, _ = await asyncio.gather(reads, market.run())
        for answer in answers:
            expect(200)(answer)
        await tell(site, web.port, len(answers), report)
        crowd.close()


async def tell(site: Site, port: int, reads: int, report: Report) -> None:
    """The server's own figures, while all sessions are still there; one it does not know counts as 0."""
    await asyncio.sleep(SETTLE_S)  # each process tells its counters now and then
    connection = await Connection.open(port)
    answer = expect(200)(await connection.request(get("/indicators/metrics", site.tokens[0])))
    figures = json.loads(answer.body)
    report.say(f"{reads} reads; the server says {answer.body.decode()}")
    report("reuse: cache hit rate", figures["cache"]["hit_rate"] or 0.0, "of 1", target="> 0.95")
    report("reuse: users per computation", figures["users_per_computation"] or 0.0, "sessions", target="> 3")
    report(
        "reuse: uses of a value per computation of it", figures["reuse_ratio"] or 0.0, "uses", target="> 10"
    )


def run(report: Report) -> None:
    with harness.rig(**LIMITS, FEED="external") as rig:
        uvloop.run(reuse(prepare(rig, symbols=NAMES), report))
