"""Sharing: 200 sessions on 20 symbols with overlapping indicators, five minutes of market in fast motion.

Each session follows some streams and reads `current` again and again. The figures are the server's own, from
``/indicators/metrics``. ``BENCH_REUSE_SPEED`` says how many times faster than the clock the market runs.
"""

import itertools
import os
import random
from collections.abc import Iterator

from bench.http_clients import get
from bench.site import Want

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
