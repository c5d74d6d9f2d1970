"""Kernels of the trend family: whether there is a trend, and how strong."""

import math
from collections.abc import Callable
from functools import partial

from indicators.engine.kernels.nodes import (
    NAN,
    Lag,
    Node,
    Ratchet,
    Step,
    Ta,
    Twin,
    atr,
    change,
    ema,
    highest,
    lowest,
    mean,
    on_close,
    ratio,
    total,
)
from stocksblitz.market.core.bars import Bar


def adx(length: int) -> Step:
    lines = tuple(Ta(name, timeperiod=length) for name in ("ADX", "PLUS_DI", "MINUS_DI"))
    strength, plus, minus = lines

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        _, _, high, low, close, _, _ = bar
        return strength(keep, high, low, close), plus(keep, high, low, close), minus(keep, high, low, close)

    return step


class Alphatrend:
    def __init__(self, length: int, multiplier: float, threshold: float, lag: int) -> None:
        self._swing, self._flow, self._before = atr(length, mean), Ta("MFI", timeperiod=length), Lag(lag)
        self._line = Ratchet(length + 1)
        self._multiplier, self._threshold = multiplier, threshold

    @property
    def settled(self) -> bool:
        return self._line.settled

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        width = self._multiplier * self._swing(keep, bar)
        money = self._flow(keep, bar.high, bar.low, bar.close, bar.volume)
        up = money >= self._threshold
        line = NAN
        if width == width and money == money:
            line = self._line(keep, up, bar.low - width if up else bar.high + width)
        return line, self._before(keep, line)


def runs(fast: Node, slow: Node, bars: int) -> Callable[[bool, float], tuple[float, ...]]:
    """Return whether the fast average rose over so many bars, and whether it fell; a flat slow one is neither."""
    quick, steady = change(bars), change(bars)

    def node(keep: bool, value: float) -> tuple[float, ...]:
        moved, under = quick(keep, fast(keep, value)), steady(keep, slow(keep, value))
        return float(moved > 0 and under != 0), float(moved < 0 and under != 0)

    return node


def amat(fast: int, slow: int, lookback: int) -> Step:
    found = runs(ema(fast), ema(slow), lookback)
    return lambda keep, bar: found(keep, bar.close)


def aroon(length: int) -> Step:
    line = Ta("AROON", timeperiod=length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        down, up = line(keep, bar.high, bar.low)
        return down, up, up - down

    return step


def chop(length: int, scalar: float) -> Step:
    top, bottom, swing, path = highest(length), lowest(length), atr(1), total(length)
    scale = scalar / math.log10(length)

    def step(keep: bool, bar: Bar) -> float:
        share = ratio(path(keep, swing(keep, bar)), top(keep, bar.high) - bottom(keep, bar.low))
        return scale * math.log10(share) if share > 0 else NAN

    return step


def cksp(p: int, x: float, q: int) -> Step:
    swing, top, bottom, long, short = atr(p), highest(p), lowest(p), highest(q), lowest(q)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        width = x * swing(keep, bar)
        return long(keep, top(keep, bar.high) - width), short(keep, bottom(keep, bar.low) + width)

    return step


def decay(length: int, mode: str) -> Step:
    exponential, held = mode == "exp", 0.0

    def step(keep: bool, bar: Bar) -> float:
        nonlocal held
        line = max(0.0, bar.close, held * (1 - 1 / length) if exponential else held - 1 / length)
        if keep:
            held = line
        return line

    return step


def moving(sign: int) -> Callable[[int, int], Step]:
    """Return 1 where the close moved this way over so many bars (where strict: on each of them), else 0."""

    def factory(length: int, strict: int) -> Step:
        move = change(1 if strict else length)
        each = total(length if strict else 1)

        def step(keep: bool, bar: Bar) -> float:
            moved = move(keep, bar.close)
            return float(
                each(keep, NAN if moved != moved else float(sign * moved > 0)) == (length if strict else 1)
            )

        return step

    return factory


def dpo(length: int) -> Step:
    average, before = mean(length), Lag(length // 2 + 1)
    return lambda keep, bar: bar.close - before(keep, average(keep, bar.close))


def _trendline() -> Step:
    """Return the line, and the period that it is averaged over."""
    line, period = on_close("HT_TRENDLINE"), on_close("HT_DCPERIOD")
    return lambda keep, bar: (line(keep, bar), period(keep, bar))


def psar(af0: float, af: float, max_af: float) -> Step:
    return Twin(partial(_Psar, af0, af, max_af))


class _Psar:
    """Wilder's parabolic stop and reverse; the first trend is that of the larger move."""

    def __init__(self, af0: float, af: float, max_af: float) -> None:
        self._first, self._step, self._most = af0, af, max_af
        self._state: tuple[float, float, float, bool] | None = None
        self._past: tuple[tuple[float, float], ...] = ()

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        high, low = bar.high, bar.low
        if not self._past:
            if keep:
                self._past = ((high, low),)
            return NAN, NAN, self._first, 0.0
        last_high, last_low = self._past[-1]
        state = self._state or self._begin(high, low, last_high, last_low)
        stop, extreme, speed, rising, turned = self._next(state, high, low)
        if keep:
            self._state = (stop, extreme, speed, rising)
            self._past = ((last_high, last_low), (high, low))
        return stop if rising else NAN, NAN if rising else stop, speed, float(turned)

    def _begin(
        self, high: float, low: float, last_high: float, last_low: float
    ) -> tuple[float, float, float, bool]:
        rising = high - last_high >= last_low - low
        return (
            (last_low, last_high, self._first, True) if rising else (last_high, last_low, self._first, False)
        )

    def _next(
        self, state: tuple[float, float, float, bool], high: float, low: float
    ) -> tuple[float, float, float, bool, bool]:
        stop, extreme, speed, rising = state
        stop += speed * (extreme - stop)
        # the stop may not enter the range of the two bars before
        stop = (
            min(stop, *(low for _, low in self._past))
            if rising
            else max(stop, *(high for high, _ in self._past))
        )
        if (low < stop) if rising else (high > stop):
            (last_high, last_low) = self._past[-1]
            stop = max(extreme, last_high, high) if rising else min(extreme, last_low, low)
            return stop, low if rising else high, self._first, not rising, True
        if (high > extreme) if rising else (low < extreme):
            extreme, speed = high if rising else low, min(speed + self._step, self._most)
        return stop, extreme, speed, rising, False


def qstick(length: int) -> Step:
    average = mean(length)
    return lambda keep, bar: average(keep, bar.close - bar.open)


def rwi(length: int) -> Step:
    swing, highs, lows, root = atr(length), Lag(length), Lag(length), math.sqrt(length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        size = root * swing(keep, bar)
        return ratio(bar.high - lows(keep, bar.low), size), ratio(highs(keep, bar.high) - bar.low, size)

    return step


def ttm_trend(length: int) -> Step:
    average = mean(length)

    def step(keep: bool, bar: Bar) -> float:
        middle = average(keep, (bar.high + bar.low) / 2)
        return NAN if middle != middle else 1.0 if bar.close > middle else -1.0

    return step


def vhf(length: int) -> Step:
    top, bottom, move, path = highest(length), lowest(length), change(), total(length)

    def step(keep: bool, bar: Bar) -> float:
        close = bar.close
        return ratio(top(keep, close) - bottom(keep, close), path(keep, abs(move(keep, close))))

    return step


def vortex(length: int) -> Step:
    lines = Ta("VORTEX", timeperiod=length)
    return lambda keep, bar: lines(keep, bar.high, bar.low, bar.close)


KERNELS = {
    "ADX": adx,
    "ALPHATREND": Alphatrend,
    "AMAT": amat,
    "AROON": aroon,
    "CHOP": chop,
    "CKSP": cksp,
    "DECAY": decay,
    "DECREASING": moving(-1),
    "DPO": dpo,
    "HT_TRENDLINE": lambda: Twin(_trendline, hidden=True),
    "INCREASING": moving(1),
    "PSAR": psar,
    "QSTICK": qstick,
    "RWI": rwi,
    "TTM_TREND": ttm_trend,
    "VHF": vhf,
    "VORTEX": vortex,
}
