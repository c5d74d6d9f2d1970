"""Bars for tests: real ones, and random ones that are the same for the same seed."""

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from indicators.engine.kernels import Kernel, Value
from indicators.engine.spec import parse
from indicators.engine.stream import Stream
from stocksblitz.market.core.bars import Bar

MINUTE = 60_000
COMMON = (
    "RSI_14",
    "MACD_12_26_9",
    "BBANDS_20_2",
    "EMA_50",
    "ATR_14",
    "ADX_14",
    "STOCH_14_3_3",
    "SUPERTREND_10_3",
    "VWAP",
)


def read(path: Path, session_gap: int = 0) -> list[Bar]:
    """The bars of a file; a session begins at UTC midnight, or after a gap of so many milliseconds."""
    bars: list[Bar] = []
    session = 0
    with path.open() as file:
        for row in csv.DictReader(file):
            ts = int(datetime.fromisoformat(row["ts"].replace("Z", "+00:00")).timestamp() * 1000)
            if not session_gap:
                session = ts // 86_400_000 * 86_400_000
            elif not bars or ts - bars[-1].ts >= session_gap:
                session = ts
            first, high, low, close, volume = (
                float(row[k] or 0) for k in ("open", "high", "low", "close", "volume")
            )
            bars.append(Bar(ts, first, high, low, close, volume, session))
    return bars


def random_bars(count: int, seed: int = 1, *, step: float = 0.004, start: float = 100.0) -> list[Bar]:
    """A random walk with sessions of 100 bars."""
    rng = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(rng.normal(0, step, count)))
    opened = np.r_[start, close[:-1]] * np.exp(rng.normal(0, step / 4, count))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, step / 2, count)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, step / 2, count)))
    volume = rng.integers(1, 1000, count).astype(float)
    prices = np.stack([opened, high, low, close, volume], axis=1).tolist()
    sessions = (i // 100 * 100 * MINUTE + MINUTE for i in range(count))
    return [Bar((i + 1) * MINUTE, *p, s) for i, (p, s) in enumerate(zip(prices, sessions, strict=True))]  # type: ignore[call-arg]  # five prices


def run(indicator: str, bars: Sequence[Bar]) -> list[tuple[Value, bool]]:
    """Value and readiness at every bar; fails where the kernel broke."""
    spec = parse(indicator)
    stream = Stream()
    stream.set_indicators([spec])
    found = [stream.update(bar)[spec.id] for bar in bars]
    assert not stream.broken
    return found


def raw(indicator: str, bars: Sequence[Bar]) -> list[Value]:
    """The values as the kernel gives them, ready or not."""
    kernel = Kernel(parse(indicator))
    return [kernel.update(bar) for bar in bars]


def parts_of(value: Value, parts: Sequence[str]) -> list[float]:
    """The numbers of a value in the order of its parts, NaN for what is not known."""
    found: list[Any] = [value]
    if parts:
        found = [None] * len(parts) if value is None else [value[part] for part in parts]
    return [float("nan") if x is None else x for x in found]


def columns(bars: Sequence[Bar]) -> dict[str, np.ndarray]:
    table = np.array([bar[1:6] for bar in bars])
    return dict(zip(("open", "high", "low", "close", "volume"), table.T.copy(), strict=True))


def agree(one: float, other: float, price: float, relative: float = 1e-6) -> bool:
    """The promise of readiness: 1e-6 of the value, or 1e-9 of the price where values cross zero."""
    if one != one or other != other:
        return one != one and other != other
    return abs(one - other) <= max(relative * abs(other), 1e-9 * abs(price))
