"""Kernels of the momentum family."""

from indicators.kernels.nodes import Step, Ta
from stocksblitz.market.bars import Bar


def rsi(length: int, scalar: float) -> Step:
    line, factor = Ta("RSI", timeperiod=length), scalar / 100
    return lambda keep, bar: line(keep, bar.close) * factor


def macd(fast: int, slow: int, signal: int) -> Step:
    lines = Ta("MACD", fastperiod=fast, slowperiod=slow, signalperiod=signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line, average, histogram = lines(keep, bar.close)
        return line, histogram, average

    return step


def stoch(k: int, d: int, smooth_k: int) -> Step:
    lines = Ta("STOCH", fastk_period=k, slowk_period=smooth_k, slowk_matype=0, slowd_period=d, slowd_matype=0)
    return lambda keep, bar: lines(keep, bar.high, bar.low, bar.close)


KERNELS = {"RSI": rsi, "MACD": macd, "STOCH": stoch}
