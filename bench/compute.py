"""Indicator values per second: ten indicators, 200 symbols, one forming bar after another.

Beside the usual way (`bench.baselines.pandas_values`: for each value the bars as JSON, a DataFrame and
pandas-ta) stands the engine alone, and the engine as compute runs it: frames encoded, stored, published.
"""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator

from bench.report import Report
from indicators.engine import Stream
from indicators.spec import parse
from stocksblitz.market.bars import MINUTE_MS, Bar

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


def walk(seed: int, count: int) -> list[Bar]:
    """A random walk of one-minute bars, the same for one seed; sessions of one day."""
    rng, price, bars = random.Random(seed), 1_000.0 + seed, []
    for at in range(count):
        ts = START_MS + at * MINUTE_MS
        opened, price = price, price * (1 + rng.gauss(0, 0.001))
        high, low = (
            max(opened, price) * (1 + rng.random() / 2000),
            min(opened, price) * (1 - rng.random() / 2000),
        )
        bars.append(
            Bar(ts, opened, high, low, price, float(rng.randrange(1, 5000)), ts - ts % (1440 * MINUTE_MS))
        )
    return bars


def forming(bars: list[Bar]) -> Iterator[Bar]:
    """The bar after these, forming without end: its close moves with every tick."""
    last = bars[-1]
    for tick in itertools.count():
        close = last.close * (1 + 0.0001 * (tick % 17 - 8))
        high, low = max(last.close, close) * 1.0005, min(last.close, close) * 0.9995
        yield Bar(last.ts + MINUTE_MS, last.close, high, low, close, 100.0 + tick % 1000, last.session)


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


def run(report: Report) -> None:
    histories = [walk(seed, HISTORY) for seed in range(SYMBOLS)]
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
