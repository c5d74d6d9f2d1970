"""Kernels of the volatility family: how wide prices swing."""

import math
from functools import partial

from indicators.engine.catalogue.entry import ema as memory
from indicators.engine.catalogue.entry import rma as seed_and_memory
from indicators.engine.kernels.nodes import (
    NAN,
    Lag,
    Ratchet,
    Step,
    Ta,
    Twin,
    change,
    ema,
    highest,
    lowest,
    mean,
    on_range,
    ratio,
    total,
    true_range,
)
from indicators.engine.kernels.nodes import atr as wilder
from indicators.engine.kernels.oscillators import volatility_index
from indicators.engine.kernels.overlap import Holt, of_close
from stocksblitz.market.core.bars import Bar


def aberration(length: int, atr_length: int) -> Step:
    average, swing = mean(length), wilder(atr_length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        middle, width = average(keep, (bar.high + bar.low + bar.close) / 3), swing(keep, bar)
        return middle, middle + width, middle - width, width

    return step


def accbands(length: int, c: float) -> Step:
    under, middle, over = (mean(length) for _ in range(3))

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        high, low = bar.high, bar.low
        share = c * (high - low) / (high + low) if high + low else 0.0
        return under(keep, low * (1 - share)), middle(keep, bar.close), over(keep, high * (1 + share))

    return step


def atr(length: int) -> Step:
    return on_range("ATR", timeperiod=length)


class Atrts:
    def __init__(self, length: int, ma_length: int, k: float) -> None:
        self._swing, self._average, self._k = wilder(length), ema(ma_length), k
        self._line = Ratchet(max(seed_and_memory(length), memory(ma_length)))

    @property
    def settled(self) -> bool:
        return self._line.settled

    def __call__(self, keep: bool, bar: Bar) -> float:
        width, middle, close = self._k * self._swing(keep, bar), self._average(keep, bar.close), bar.close
        if width != width or middle != middle:
            return NAN
        up = close > middle
        return self._line(keep, up, close - width if up else close + width)


def bbands(length: int, std: float) -> Step:
    bands = Ta("BBANDS", timeperiod=length, nbdevup=std, nbdevdn=std, matype=0)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        close = bar.close
        upper, middle, lower = bands(keep, close)
        width = upper - lower
        return lower, middle, upper, 100 * ratio(width, middle), ratio(close - lower, width)

    return step


def chandelier_exit(high_length: int, low_length: int, atr_length: int, multiplier: float) -> Step:
    return Twin(partial(_chandelier, high_length, low_length, atr_length, multiplier))


def _chandelier(high_length: int, low_length: int, atr_length: int, multiplier: float) -> Step:
    top, bottom, swing = highest(high_length), lowest(low_length), wilder(atr_length)
    past_long, past_short, held = Lag(), Lag(), NAN

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal held
        width = multiplier * swing(keep, bar)
        long, short = top(keep, bar.high) - width, bottom(keep, bar.low) + width
        score = (bar.close > past_long(keep, long)) - (bar.close < past_short(keep, short))
        trend = float(score) if score else held
        if keep:
            held = trend
        return long, short, trend

    return step


def donchian(lower_length: int, upper_length: int) -> Step:
    bottom, top = lowest(lower_length), highest(upper_length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        low, high = bottom(keep, bar.low), top(keep, bar.high)
        return low, (low + high) / 2, high

    return step


def hwc(scalar: float, na: float, nb: float, nc: float, nd: float) -> Step:
    line, spread, missed = Holt(na, nb, nc), 0.0, 0.0

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal spread, missed
        middle, width = line(keep, bar.close), scalar * math.sqrt(spread)
        if keep:
            spread += nd * (missed - spread)
            missed = (bar.close - middle) ** 2
        place = ratio(bar.close - (middle - width), 2 * width)
        return middle, middle - width, middle + width, 2 * width, place

    return step


def kc(length: int, scalar: float, atr_length: int) -> Step:
    basis, swing = ema(length), wilder(atr_length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        middle, width = basis(keep, bar.close), scalar * swing(keep, bar)
        return middle - width, middle, middle + width

    return step


def massi(fast: int, slow: int) -> Step:
    once, twice, added = ema(fast), ema(fast), total(slow)

    def step(keep: bool, bar: Bar) -> float:
        first = once(keep, bar.high - bar.low)
        return added(keep, ratio(first, twice(keep, first)))

    return step


def natr(length: int, scalar: float) -> Step:
    swing = atr(length)
    return lambda keep, bar: scalar * ratio(swing(keep, bar), bar.close)


def pdist() -> Step:
    before = Lag()

    def step(keep: bool, bar: Bar) -> float:
        gap = abs(bar.open - before(keep, bar.close))
        return 2 * (bar.high - bar.low) + gap - abs(bar.close - bar.open)

    return step


def rvi(length: int) -> Step:
    return of_close(volatility_index(length))


def thermo(length: int, long: float, short: float) -> Step:
    higher, lower, average = change(), change(), ema(length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        heat = max(abs(higher(keep, bar.high)), abs(lower(keep, bar.low)))
        usual = average(keep, heat)
        return heat, usual, float(heat < usual * long), float(heat > usual * short)

    return step


def ui(length: int, scalar: float) -> Step:
    top, average = highest(length), mean(length)

    def step(keep: bool, bar: Bar) -> float:
        peak = top(keep, bar.close)
        fall = scalar * ratio(bar.close - peak, peak)
        return math.sqrt(average(keep, fall * fall))

    return step


KERNELS = {
    "ABERRATION": aberration,
    "ACCBANDS": accbands,
    "ATR": atr,
    "ATRTS": Atrts,
    "BBANDS": bbands,
    "CHANDELIER_EXIT": chandelier_exit,
    "DONCHIAN": donchian,
    "HWC": hwc,
    "KC": kc,
    "MASSI": massi,
    "NATR": natr,
    "PDIST": pdist,
    "RVI": rvi,
    "THERMO": thermo,
    "TRUE_RANGE": true_range,
    "UI": ui,
}
