"""Measure sharing: 200 sessions on 20 symbols with overlapping indicators, during five accelerated minutes of market.

Each session subscribes to a few streams and reads `current` repeatedly. The figures come from the server's
``/indicators/metrics``. ``BENCH_REUSE_SPEED`` sets how many times faster than real time the market runs.
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
from bench.site import LIMITS, Site, Subscription, prepare, sessions
from stocksblitz.market.core.bars import MINUTE_MS, Bar

SESSIONS, SYMBOLS = 200, 20
MARKET_S = 300
"""Seconds of market time."""
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
"""Closed bars of each symbol at the start."""
SETTLE_S = 3.0
"""Seconds within which every process has published its counters."""
NAMES = [f"REUSE{number}" for number in range(SYMBOLS)]


def subscriptions() -> list[list[Subscription]]:
    """Return random streams and indicators for each session, the same in every run."""
    rng = random.Random(7)
    return [
        [(symbol, TIMEFRAME, rng.sample(POOL, INDICATORS_EACH)) for symbol in rng.sample(NAMES, STREAMS_EACH)]
        for _ in range(SESSIONS)
    ]


def reading(tokens: list[str], subscribed: list[list[Subscription]]) -> Iterator[bytes]:
    """Yield a read of current values for each subscription in turn, without end."""
    targets = itertools.cycle(list(itertools.chain.from_iterable(subscribed)))
    for token, (symbol, timeframe, indicators) in zip(itertools.cycle(tokens), targets):
        query = f"timeframe={timeframe}&indicators={','.join(indicators)}"
        yield get(f"/indicators/{symbol}/current?{query}", token)


class Market:
    """Market of all symbols: each flush is one second of market time, and a bar closes every sixty flushes."""

    def __init__(self, feed: Playback) -> None:
        start = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS - (HISTORY + MARKET_S // 60) * MINUTE_MS
        self.feed, self.flushes = feed, 0
        self.bars = {
            symbol: walk(seed, HISTORY + MARKET_S // 60 + 1, start) for seed, symbol in enumerate(NAMES)
        }

    async def begin(self) -> None:
        """Write the history and the first forming bars."""
        await self.feed.begin({symbol: bars[:HISTORY] for symbol, bars in self.bars.items()})
        await self.flush()

    async def flush(self) -> None:
        """Write the next second of the market."""
        minute, second = divmod(self.flushes, 60)
        if minute and not second:
            await self.feed.close(
                {symbol: [bars[HISTORY + minute - 1]] for symbol, bars in self.bars.items()}
            )
        share = (second + 1) / 60
        await self.feed.form(
            {symbol: part(bars[HISTORY + minute], share) for symbol, bars in self.bars.items()}
        )
        await self.feed.announce()
        self.flushes += 1

    async def run(self) -> None:
        """Flush at the configured speed until the market time is over."""
        while self.flushes < MARKET_S:
            await asyncio.gather(self.flush(), asyncio.sleep(1 / SPEED))


def part(bar: Bar, share: float) -> Bar:
    """Return the state of a bar after that share of its time."""
    close = bar.open + (bar.close - bar.open) * share
    return bar._replace(
        high=max(bar.open, close), low=min(bar.open, close), close=close, volume=bar.volume * share
    )


async def reuse(site: Site, report: Report) -> None:
    """Run the market, the sessions and their reads, then report the server's figures."""
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        market, subscribed = Market(Playback(redis, site.keys, TIMEFRAME)), subscriptions()
        await market.begin()
        site.worker("compute")
        web = await asyncio.to_thread(site.web)
        crowd = await sessions(web.port, site.paths(SESSIONS), subscribed)
        reads = hammer(web.port, reading(site.tokens, subscribed), READERS, MARKET_S / SPEED)
        answers, _ = await asyncio.gather(reads, market.run())
        for answer in answers:
            expect(200)(answer)
        await report_metrics(site, web.port, len(answers), report)
        crowd.close()


async def report_metrics(site: Site, port: int, reads: int, report: Report) -> None:
    """Report the server's figures while all sessions are open; a figure that is null counts as 0."""
    await asyncio.sleep(SETTLE_S)  # each process publishes its counters from time to time
    connection = await Connection.open(port)
    answer = expect(200)(await connection.request(get("/indicators/metrics", site.tokens[0])))
    figures = json.loads(answer.body)
    report.say(f"{reads} reads; the server reports {answer.body.decode()}")
    report("reuse: cache hit rate", figures["cache"]["hit_rate"] or 0.0, "of 1", target="> 0.95")
    report("reuse: users per computation", figures["users_per_computation"] or 0.0, "sessions", target="> 3")
    report(
        "reuse: uses of a value per computation of it", figures["reuse_ratio"] or 0.0, "uses", target="> 10"
    )


def run(report: Report) -> None:
    """Measure with compute and one web process."""
    with harness.rig(**LIMITS, FEED="external") as rig:
        uvloop.run(reuse(prepare(rig, symbols=NAMES), report))
