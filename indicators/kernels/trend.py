"""Kernels of the trend family."""

from indicators.kernels.nodes import Step, Ta
from stocksblitz.market.bars import Bar


def adx(length: int) -> Step:
    lines = tuple(Ta(name, timeperiod=length) for name in ("ADX", "PLUS_DI", "MINUS_DI"))
    strength, plus, minus = lines

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        _, _, high, low, close, _, _ = bar
        return strength(keep, high, low, close), plus(keep, high, low, close), minus(keep, high, low, close)

    return step


KERNELS = {"ADX": adx}
