"""Kernels of the candle family: patterns, and candles drawn in another way."""

from collections.abc import Callable
from functools import partial

from indicators.engine.catalogue.candles import PATTERNS
from indicators.engine.kernels.nodes import NAN, Lag, Step, Ta, deviation, mean, ratio
from stocksblitz.market.core.bars import Bar


def pattern(name: str) -> Step:
    """Return a kernel of a TA-Lib pattern: 100 or 200 is bullish, negative bearish, 0 none."""
    found = Ta(name)
    return lambda keep, bar: float(found(keep, bar.open, bar.high, bar.low, bar.close))


def doji(length: int, factor: float) -> Step:
    usual = mean(length)

    def step(keep: bool, bar: Bar) -> float:
        limit = factor / 100 * usual(keep, bar.high - bar.low)
        return NAN if limit != limit else 100.0 * (abs(bar.close - bar.open) < limit)

    return step


def inside() -> Step:
    highs, lows = Lag(), Lag()

    def step(keep: bool, bar: Bar) -> float:
        high, low = highs(keep, bar.high), lows(keep, bar.low)
        return NAN if high != high else 100.0 * (bar.high < high and bar.low > low)

    return step


def z(length: int, ddof: int) -> Step:
    nodes = [(mean(length), deviation(length, ddof)) for _ in range(4)]

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        pairs = zip(nodes, bar[1:5], strict=True)
        return tuple(
            [ratio(price - average(keep, price), wide(keep, price)) for (average, wide), price in pairs]
        )

    return step


def ha() -> Step:
    held = NAN

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal held
        close = (bar.open + bar.high + bar.low + bar.close) / 4
        opened = (bar.open + bar.close) / 2 if held != held else held
        if keep:
            held = (opened + close) / 2
        return opened, max(bar.high, opened, close), min(bar.low, opened, close), close

    return step


KERNELS: dict[str, Callable[..., Step]] = {
    "CDL_DOJI": doji,
    "CDL_INSIDE": inside,
    "CDL_Z": z,
    "HA": ha,
    **{name: partial(pattern, name) for name in PATTERNS},
}
