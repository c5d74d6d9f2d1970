"""Kernels of the statistics, performance and cycle families."""

import math
from collections import deque
from collections.abc import Callable, Sequence

from indicators.engine.kernels.nodes import (
    NAN,
    Lag,
    Rolling,
    Step,
    deviation,
    forecast,
    mean,
    rate,
    ratio,
    total,
    variance,
)
from indicators.engine.kernels.overlap import of_close, two_poles
from stocksblitz.market.core.bars import Bar


def entropy(length: int, base: float) -> Step:
    whole, added, scale = total(length), total(length), -1 / math.log(base)

    def step(keep: bool, bar: Bar) -> float:
        share = ratio(bar.close, whole(keep, bar.close))
        return added(keep, scale * share * math.log(share)) if share > 0 else NAN

    return step


def _moments(window: Sequence[float]) -> tuple[float, ...]:
    """Return the second, third and fourth central moment of a window."""
    count = len(window)
    average = sum(window) / count
    off = [value - average for value in window]
    squares = [value * value for value in off]
    powers = sum(squares), math.sumprod(squares, off), math.sumprod(squares, squares)
    # differences as small as their own rounding are none
    return (
        tuple(power / count for power in powers)
        if powers[0] > 1e-24 * average * average * count
        else (0.0,) * 3
    )


def _skew(window: Sequence[float]) -> float:
    second, third, _ = _moments(window)
    count = len(window)
    return math.sqrt(count * (count - 1)) / (count - 2) * ratio(third, second**1.5)


def _kurtosis(window: Sequence[float]) -> float:
    second, _, fourth = _moments(window)
    count = len(window)
    excess = (count + 1) * ratio(fourth, second * second) - 3 * (count - 1)
    return excess * (count - 1) / ((count - 2) * (count - 3))


def _mean_deviation(window: Sequence[float]) -> float:
    average = sum(window) / len(window)
    return sum(abs(value - average) for value in window) / len(window)


def of_window(function: Callable[[Sequence[float]], float]) -> Callable[[int], Step]:
    """Return a kernel of a function of the last closes."""
    return lambda length: of_close(Rolling(length, function))


def quantile(length: int, q: float = 0.5) -> Step:
    place = q * (length - 1)
    below, share = int(place), place - int(place)

    def compute(window: Sequence[float]) -> float:
        ordered = sorted(window)
        low = ordered[below]
        return low + share * (ordered[min(below + 1, length - 1)] - low)

    return of_close(Rolling(length, compute))


def zscore(length: int, std: float) -> Step:
    average, wide = mean(length), deviation(length)
    return lambda keep, bar: ratio(bar.close - average(keep, bar.close), std * wide(keep, bar.close))


def tos_stdevall(length: int) -> Step:
    line, wide = forecast(length), deviation(length, 1)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        middle, width = line(keep, bar.close), wide(keep, bar.close)
        rims = (middle + sign * i * width for i in (1, 2, 3) for sign in (-1, 1))
        return middle, *rims

    return step


def drawdown() -> Step:
    peak = -math.inf

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal peak
        top, close = max(peak, bar.close), bar.close
        if keep:
            peak = top
        share = ratio(close, top)
        return top - close, 1 - share, -math.log(share) if share > 0 else NAN

    return step


def log_return(length: int) -> Step:
    before = Lag(length)

    def step(keep: bool, bar: Bar) -> float:
        share = ratio(bar.close, before(keep, bar.close))
        return math.log(share) if share > 0 else NAN

    return step


def percent_return(length: int) -> Step:
    return of_close(rate(length))


class Ebsw:
    """Ehlers' even better sine wave: a high-passed, smoothed close over its own power, -1 to 1."""

    def __init__(self, length: int, bars: int) -> None:
        angle = 2 * math.pi / length
        self._alpha = (1 - math.sin(angle)) / math.cos(angle)
        decay = math.exp(-math.sqrt(2) * math.pi / bars)
        self._near, self._far = 2 * decay * math.cos(math.sqrt(2) * math.pi / bars), -decay * decay
        self._state: tuple[float, ...] | None = None

    def __call__(self, keep: bool, value: float) -> float:
        past, high, first, second = self._state or (value, 0.0, 0.0, 0.0)
        passed = (1 + self._alpha) / 2 * (value - past) + self._alpha * high
        share = (1 - self._near - self._far) / 2
        smooth = share * (passed + high) + self._near * first + self._far * second
        if keep:
            self._state = (value, passed, smooth, first)
        power = (smooth * smooth + first * first + second * second) / 3
        return ratio((smooth + first + second) / 3, math.sqrt(power))


class Flex:
    """Ehlers' reflex and trendflex: how far the smoothed close stands from its last values, over its usual size.

    Reflex measures from the line between the two ends of the window, trendflex from the newest value.
    """

    def __init__(self, length: int, smooth: int, alpha: float, *, tilted: bool) -> None:
        self._smooth, self._length, self._alpha = two_poles(smooth / 2), length, alpha
        self._tilted, self._size = tilted, 0.0
        self._past: deque[float] = deque(maxlen=length)

    def __call__(self, keep: bool, value: float) -> float:
        line, past, length = self._smooth(keep, value), self._past, self._length
        if len(past) < length:
            if keep:
                past.append(line)
            return NAN
        tilt = (past[0] - line) / length if self._tilted else 0.0
        off = ((length - 1) * line - (sum(past) - past[0]) + tilt * length * (length - 1) / 2) / length
        size = self._alpha * off * off + (1 - self._alpha) * self._size
        if keep:
            past.append(line)
            self._size = size
        return ratio(off, math.sqrt(size))


def reflex(length: int, smooth: int, alpha: float) -> Step:
    return of_close(Flex(length, smooth, alpha, tilted=True))


def trendflex(length: int, smooth: int, alpha: float) -> Step:
    return of_close(Flex(length, smooth, alpha, tilted=False))


KERNELS = {
    "DRAWDOWN": drawdown,
    "EBSW": lambda length, bars: of_close(Ebsw(length, bars)),
    "ENTROPY": entropy,
    "KURTOSIS": of_window(_kurtosis),
    "LOG_RETURN": log_return,
    "MAD": of_window(_mean_deviation),
    "MEDIAN": quantile,
    "PERCENT_RETURN": percent_return,
    "QUANTILE": quantile,
    "REFLEX": reflex,
    "SKEW": of_window(_skew),
    "STDEV": lambda length, ddof: of_close(deviation(length, ddof)),
    "TOS_STDEVALL": tos_stdevall,
    "TRENDFLEX": trendflex,
    "VARIANCE": lambda length, ddof: of_close(variance(length, ddof)),
    "ZSCORE": zscore,
}
