"""Indicator values per second: ten indicators, 200 symbols, one forming bar after another.

Beside the usual way (`bench.baselines.pandas_values`: for each value the bars as JSON, a DataFrame and
pandas-ta) stands the engine alone, and the engine as compute runs it: frames encoded, stored, published.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.harness import Process, Rig
from bench.load.listen import Listener
from bench.load.playback import Playback, forming, walk
from bench.report import Report
from bench.site import prepare, procfile
from indicators.engine.spec import parse
from indicators.engine.stream import Stream
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.redis.keys import Keys, computation

MIX = (
    "RSI_14",
    "MACD_12_26_9",
    "BBANDS_20_2",
    "SMA_20",
    "EMA_50",
    "ATR_14",
    "ADX_14",
    "STOCH_14_3_3",
    "SUPERTREND_10_3",
    "VWAP",
)
SYMBOLS = 200
HISTORY = 1_500
"""Closed bars there are of each symbol, as after the start of a simulated feed."""
BASELINE_BARS = 300
SAMPLES = 3
BASELINE_S = 3.0
ENGINE_S = 1.5
START_MS = 1_763_596_800_000
TIMEFRAME = "1min"
WORKER_S = 3.0
FLUSH_S = 20.0
SETTLE_S = 60.0


def per_second(step: Callable[[], int], seconds: float) -> float:
    """Call the step for so long; what it returns per second."""
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        done += step()
    return done / elapsed


def pandas_steps(histories: list[list[Bar]]) -> tuple[Callable[[], int], Callable[[], int]]:
    """The baseline, each value by itself, and its kinder variant: one DataFrame for the ten of a symbol."""
    from bench.baselines.pandas_values import frame_of, value

    texts = itertools.cycle([json.dumps([bar[:6] for bar in bars[-BASELINE_BARS:]]) for bars in histories])
    indicators = itertools.cycle(MIX)
    for indicator in MIX:  # numba compiles at the first call
        value(indicator, frame_of(next(texts)))

    def one() -> int:
        value(next(indicators), frame_of(next(texts)))
        return 1

    def ten() -> int:
        df = frame_of(next(texts))
        for indicator in MIX:
            value(indicator, df)
        return len(MIX)

    return one, ten


def engine_step(histories: list[list[Bar]]) -> Callable[[], int]:
    """One forming bar of the next symbol; counts only values that are ready."""
    turns = itertools.cycle([(warm(bars), forming(bars)) for bars in histories])

    def step() -> int:
        stream, bars = next(turns)
        return sum(ready for _, ready in stream.peek(next(bars)).values())

    if step() != len(MIX):
        raise AssertionError("not every indicator of the mix is ready")
    return step


def warm(bars: list[Bar]) -> Stream:
    stream = Stream(bars)
    stream.want(map(parse, MIX))
    return stream


class Work:
    """What a running compute worker is given: all symbols, with a live subscriber for each indicator."""

    def __init__(self, redis: Any, keys: Keys, histories: list[list[Bar]]) -> None:
        self.redis, self.keys = redis, keys
        self.histories = {f"MIX{at}": bars for at, bars in enumerate(histories)}
        self.ticks = {symbol: forming(bars) for symbol, bars in self.histories.items()}
        self.feed = Playback(redis, keys, TIMEFRAME)

    async def begin(self) -> None:
        await self.feed.begin(self.histories)
        everything = [computation(symbol, TIMEFRAME, each) for symbol in self.histories for each in MIX]
        await self.redis.sadd(self.keys.wanted, *everything)

    async def write(self) -> None:
        await self.feed.form({symbol: next(bars) for symbol, bars in self.ticks.items()})

    async def complete(self) -> bool:
        """Whether the newest frame of every symbol has all values of the mix."""
        names = [self.keys.stream(symbol, TIMEFRAME, "frame") for symbol in self.histories]
        frames = [json.loads(raw) for raw in await self.redis.mget(names) if raw]
        values = [each for frame in frames for each in frame["indicators"].values()]
        return len(values) == SYMBOLS * len(MIX) and all(each["ready"] for each in values)

    async def settle(self, worker: Process) -> None:
        """Wait until the worker has its leases and has opened every stream, and is quiet again."""
        end = time.monotonic() + SETTLE_S
        while not await self.complete():
            worker.check()
            if time.monotonic() > end:
                raise TimeoutError("compute did not publish every value of every symbol")
            await self.write()
            await self.feed.tell()
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)


async def worker_rates(rig: Rig, histories: list[list[Bar]]) -> tuple[float, float]:
    """Values per second from the notice of a flush to the last frame published, and per CPU second of compute."""
    keys = Keys(FeedSpec.parse(rig.env["FEED"]).prefix)
    async with aioredis.Redis.from_url(rig.redis_url) as redis:
        work = Work(redis, keys, histories)
        await work.begin()
        heard = await Listener.open(rig.redis_url, [keys.updates(each, TIMEFRAME) for each in work.histories])
        worker = rig.start("compute", procfile()["compute"].split())
        await work.settle(worker)
        cpu, spent, rounds = worker.cpu_s(), 0.0, 0
        while spent < WORKER_S:
            await work.write()
            goal, start = heard.messages + SYMBOLS, time.perf_counter()
            await work.feed.tell()
            await heard.until(goal, FLUSH_S)
            spent += time.perf_counter() - start
            rounds += 1
        values = rounds * SYMBOLS * len(MIX)
        if not await work.complete():
            raise AssertionError("values went missing on the way")
        return values / spent, values / (worker.cpu_s() - cpu)


def run(report: Report) -> None:
    histories = [walk(seed, HISTORY, START_MS) for seed in range(SYMBOLS)]
    baseline = in_process(histories, report)
    with harness.rig() as rig:
        prepare(rig, symbols=[f"MIX{at}" for at in range(SYMBOLS)])
        wall, cpu = uvloop.run(worker_rates(rig, histories))
    name = "compute: frames encoded, stored, published by a compute process"
    report(f"{name} (vs pandas-ta, each value)", wall, "values/s", baseline, target=">= 100")
    report(f"{name}, per CPU second (vs pandas-ta, each value)", cpu, "values/s", baseline)


def in_process(histories: list[list[Bar]], report: Report) -> float:
    """The baseline and the engine alone; returns the baseline's rate."""
    one, ten = pandas_steps(histories)
    engine = engine_step(histories)
    rates: dict[str, list[float]] = {"one": [], "ten": [], "engine": []}
    for _ in range(SAMPLES):  # in turns, so that noise hits all of them
        rates["one"].append(per_second(one, BASELINE_S))
        rates["ten"].append(per_second(ten, BASELINE_S))
        rates["engine"].append(per_second(engine, ENGINE_S))
    baseline, kinder, alone = (sorted(each)[len(each) // 2] for each in rates.values())
    report("compute: JSON bars → DataFrame → pandas-ta, each value by itself", baseline, "values/s")
    report("compute: the same, one DataFrame for ten values", kinder, "values/s", baseline)
    report("compute: engine alone (vs pandas-ta, each value)", alone, "values/s", baseline, target=">= 500")
    report("compute: engine alone (vs pandas-ta, one DataFrame for ten)", alone, "values/s", kinder)
    return baseline
