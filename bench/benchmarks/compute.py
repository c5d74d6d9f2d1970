"""Measure indicator values per second: ten indicators of 200 symbols, recomputed for each new forming bar.

The baseline is the usual way (`bench.baselines.pandas_values`: JSON bars, a DataFrame and pandas-ta for each value). It
is compared with the engine alone, and with a real compute process, which also encodes, stores and publishes frames.
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
"""Closed bars of each symbol, as many as a simulated feed has after its start."""
BASELINE_BARS = 300
"""Bars that the baseline reads for each value."""
SAMPLES = 3
BASELINE_S = 3.0
"""Seconds of one sample of the baseline."""
ENGINE_S = 1.5
"""Seconds of one sample of the engine alone."""
START_MS = 1_763_596_800_000
TIMEFRAME = "1min"
WORKER_S = 3.0
"""Seconds for which the compute process is measured."""
FLUSH_S = 20.0
"""Seconds within which the compute process must have published all frames of a flush."""
SETTLE_S = 60.0
"""Seconds within which the compute process must have opened every stream."""


def per_second(step: Callable[[], int], seconds: float) -> float:
    """Call the step until the time is over; return the sum of its results per second."""
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        done += step()
    return done / elapsed


def pandas_steps(histories: list[list[Bar]]) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return two steps: the baseline with a DataFrame per value, and a variant with a DataFrame per ten values."""
    from bench.baselines.pandas_values import frame_of, value

    texts = itertools.cycle([json.dumps([bar[:6] for bar in bars[-BASELINE_BARS:]]) for bars in histories])
    indicators = itertools.cycle(MIX)
    for indicator in MIX:  # the first call compiles with numba, which is not measured
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
    """Return a step that computes a forming bar of the next symbol and returns the number of ready values."""
    streams = itertools.cycle([(warm(bars), forming(bars)) for bars in histories])

    def step() -> int:
        stream, bars = next(streams)
        return sum(ready for _, ready in stream.peek(next(bars)).values())

    if step() != len(MIX):
        raise AssertionError("expected every indicator of the mix to be ready")
    return step


def warm(bars: list[Bar]) -> Stream:
    """Return a stream that computes all indicators of the mix."""
    stream = Stream(bars)
    stream.set_indicators(map(parse, MIX))
    return stream


class ComputeLoad:
    """Load of a running compute worker: all symbols, with a subscriber for each indicator."""

    def __init__(self, redis: Any, keys: Keys, histories: list[list[Bar]]) -> None:
        self.redis, self.keys = redis, keys
        self.histories = {f"MIX{number}": bars for number, bars in enumerate(histories)}
        self.ticks = {symbol: forming(bars) for symbol, bars in self.histories.items()}
        self.feed = Playback(redis, keys, TIMEFRAME)

    async def begin(self) -> None:
        """Write the histories and the subscriptions."""
        await self.feed.begin(self.histories)
        wanted = [computation(symbol, TIMEFRAME, indicator) for symbol in self.histories for indicator in MIX]
        await self.redis.sadd(self.keys.wanted, *wanted)

    async def write(self) -> None:
        """Write the next forming bar of every symbol."""
        await self.feed.form({symbol: next(bars) for symbol, bars in self.ticks.items()})

    async def complete(self) -> bool:
        """Return whether the newest frame of every symbol has all values of the mix."""
        names = [self.keys.stream(symbol, TIMEFRAME, "frame") for symbol in self.histories]
        frames = [json.loads(raw) for raw in await self.redis.mget(names) if raw]
        values = [value for frame in frames for value in frame["indicators"].values()]
        return len(values) == SYMBOLS * len(MIX) and all(value["ready"] for value in values)

    async def settle(self, worker: Process) -> None:
        """Wait until the worker has its leases, has opened every stream and is idle again."""
        end = time.monotonic() + SETTLE_S
        while not await self.complete():
            worker.check()
            if time.monotonic() > end:
                raise TimeoutError(f"compute did not publish every value of every symbol within {SETTLE_S} s")
            await self.write()
            await self.feed.announce()
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)


async def worker_rates(rig: Rig, histories: list[list[Bar]]) -> tuple[float, float]:
    """Return values per second between the notice of a flush and its last frame, and values per CPU second of compute."""
    keys = Keys(FeedSpec.parse(rig.env["FEED"]).prefix)
    async with aioredis.Redis.from_url(rig.redis_url) as redis:
        load = ComputeLoad(redis, keys, histories)
        await load.begin()
        channels = [keys.updates(symbol, TIMEFRAME) for symbol in load.histories]
        listener = await Listener.open(rig.redis_url, channels)
        worker = rig.start("compute", procfile()["compute"].split())
        await load.settle(worker)
        cpu, spent, rounds = worker.cpu_s(), 0.0, 0
        while spent < WORKER_S:
            await load.write()
            goal, start = listener.messages + SYMBOLS, time.perf_counter()
            await load.feed.announce()
            await listener.until(goal, FLUSH_S)
            spent += time.perf_counter() - start
            rounds += 1
        values = rounds * SYMBOLS * len(MIX)
        if not await load.complete():
            raise AssertionError("expected every value in the newest frames, but some are missing")
        return values / spent, values / (worker.cpu_s() - cpu)


def run(report: Report) -> None:
    """Measure the baseline, the engine alone and a compute process."""
    histories = [walk(seed, HISTORY, START_MS) for seed in range(SYMBOLS)]
    baseline = in_process(histories, report)
    with harness.rig() as rig:
        prepare(rig, symbols=[f"MIX{number}" for number in range(SYMBOLS)])
        wall, cpu = uvloop.run(worker_rates(rig, histories))
    name = "compute: frames encoded, stored, published by a compute process"
    report(f"{name} (vs pandas-ta, each value)", wall, "values/s", baseline, target=">= 100")
    report(f"{name}, per CPU second (vs pandas-ta, each value)", cpu, "values/s", baseline)


def in_process(histories: list[list[Bar]], report: Report) -> float:
    """Measure the baseline and the engine in this process; return the baseline's values per second."""
    one, ten = pandas_steps(histories)
    engine = engine_step(histories)
    rates: dict[str, list[float]] = {"one": [], "ten": [], "engine": []}
    for _ in range(SAMPLES):  # alternate, so that noise of the machine affects all of them alike
        rates["one"].append(per_second(one, BASELINE_S))
        rates["ten"].append(per_second(ten, BASELINE_S))
        rates["engine"].append(per_second(engine, ENGINE_S))
    baseline, shared, alone = (sorted(samples)[len(samples) // 2] for samples in rates.values())
    report("compute: JSON bars → DataFrame → pandas-ta, each value by itself", baseline, "values/s")
    report("compute: the same, one DataFrame for ten values", shared, "values/s", baseline)
    report("compute: engine alone (vs pandas-ta, each value)", alone, "values/s", baseline, target=">= 500")
    report("compute: engine alone (vs pandas-ta, one DataFrame for ten)", alone, "values/s", shared)
    return baseline
