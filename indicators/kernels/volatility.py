"""Kernels of the volatility family."""

from indicators.kernels.nodes import Step, Ta, ratio
from stocksblitz.market.bars import Bar


def atr(length: int) -> Step:
    line = Ta("ATR", timeperiod=length)
    return lambda keep, bar: line(keep, bar.high, bar.low, bar.close)


def bbands(length: int, std: float) -> Step:
    bands = Ta("BBANDS", timeperiod=length, nbdevup=std, nbdevdn=std, matype=0)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        close = bar.close
        upper, middle, lower = bands(keep, close)
        width = upper - lower
        return lower, middle, upper, 100 * ratio(width, middle), ratio(close - lower, width)

    return step


KERNELS = {"ATR": atr, "BBANDS": bbands}
