"""Kernels of the overlap family: averages of the price, and lines that follow it."""

import math
from collections.abc import Iterable
from functools import partial

from indicators.engine.catalogue.entry import rma as settling
from indicators.engine.kernels.momentum import efficiency
from indicators.engine.kernels.nodes import (
    NAN,
    Lag,
    Node,
    Step,
    Ta,
    Twin,
    change,
    ema,
    forecast,
    highest,
    lowest,
    mean,
    on_close,
    ratio,
    rma,
    total,
    weighted,
    wma,
)
from indicators.engine.kernels.pivots import Pivots
from stocksblitz.market.core.bars import Bar


def of_close(node: Node) -> Step:
    """Return a node over the closes as a kernel."""
    return lambda keep, bar: node(keep, bar.close)


def sma(length: int) -> Step:
    return on_close("SMA", timeperiod=length)


def ema_(length: int) -> Step:
    return on_close("EMA", timeperiod=length)


def alligator(jaw: int, teeth: int, lips: int) -> Step:
    lines = [rma(bars) for bars in (jaw, teeth, lips)]
    return lambda keep, bar: tuple([line(keep, bar.close) for line in lines])


def alma(length: int, sigma: float, dist_offset: float) -> Step:
    middle, width = dist_offset * (length - 1), length / sigma
    return of_close(weighted(math.exp(-((i - middle) ** 2) / (2 * width * width)) for i in range(length)))


def dema(length: int) -> Step:
    return on_close("DEMA", timeperiod=length)


def tema(length: int) -> Step:
    return on_close("TEMA", timeperiod=length)


def t3(length: int, a: float) -> Step:
    return on_close("T3", timeperiod=length, vfactor=a)


def trima(length: int) -> Step:
    return on_close("TRIMA", timeperiod=length)


def wma_(length: int) -> Step:
    return of_close(wma(length))


def fwma(length: int) -> Step:
    return of_close(weighted(_fibonacci(length)))


def _fibonacci(count: int) -> Iterable[float]:
    past, now = 0, 1
    for _ in range(count):
        yield now
        past, now = now, past + now


def pwma(length: int) -> Step:
    return of_close(weighted(math.comb(length - 1, i) for i in range(length)))


def sinwma(length: int) -> Step:
    return of_close(weighted(math.sin(i * math.pi / (length + 1)) for i in range(1, length + 1)))


def swma(length: int) -> Step:
    return of_close(weighted(min(i, length + 1 - i) for i in range(1, length + 1)))


def hilo(high_length: int, low_length: int) -> Step:
    return Twin(partial(_hilo, high_length, low_length))


def _hilo(high_length: int, low_length: int) -> Step:
    top, bottom, past_top, past_bottom = mean(high_length), mean(low_length), Lag(), Lag()
    held = NAN

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal held
        high, low = top(keep, bar.high), bottom(keep, bar.low)
        above, below = bar.close > past_top(keep, high), bar.close < past_bottom(keep, low)
        line = low if above else high if below else held
        if keep:
            held = line
        return line, NAN if below and not above else line, NAN if above else line

    return step


def hma(length: int) -> Step:
    half, whole, smooth = wma(max(length // 2, 1)), wma(length), wma(max(math.isqrt(length), 1))
    return of_close(lambda keep, value: smooth(keep, 2 * half(keep, value) - whole(keep, value)))


class Holt:
    """Holt's and Winters' smoothing of a value, its change and the change of that: state and forecast."""

    def __init__(self, na: float, nb: float, nc: float) -> None:
        self._na, self._nb, self._nc = na, nb, nc
        self._state: tuple[float, float, float] | None = None

    def __call__(self, keep: bool, value: float) -> float:
        level, speed, bend = self._state or (value, 0.0, 0.0)
        new_level = (1 - self._na) * (level + speed + bend / 2) + self._na * value
        new_speed = (1 - self._nb) * (speed + bend) + self._nb * (new_level - level)
        new_bend = (1 - self._nc) * bend + self._nc * (new_speed - speed)
        if keep:
            self._state = (new_level, new_speed, new_bend)
        return new_level + new_speed + new_bend / 2


def hwma(na: float, nb: float, nc: float) -> Step:
    return of_close(Holt(na, nb, nc))


def ichimoku(tenkan: int, kijun: int, senkou: int) -> Step:
    turn, base, far = _middle(tenkan), _middle(kijun), _middle(senkou)
    ahead, ahead_far = Lag(max(kijun - 1, 1)), Lag(max(kijun - 1, 1))

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        quick, steady, slow = turn(keep, bar), base(keep, bar), far(keep, bar)
        return ahead(keep, (quick + steady) / 2), ahead_far(keep, slow), quick, steady

    return step


def _middle(bars: int) -> Step:
    """Return the middle between the highest high and the lowest low."""
    top, bottom = highest(bars), lowest(bars)
    return lambda keep, bar: (top(keep, bar.high) + bottom(keep, bar.low)) / 2


def jma(length: int, phase: float) -> Step:
    return Twin(lambda: of_close(_Jma(length, phase)))


class _Jma:
    """Jurik's average as it is generally reconstructed: an adaptive EMA behind volatility bands."""

    def __init__(self, length: int, phase: float) -> None:
        half = (length - 1) / 2
        reach = max(math.log2(math.sqrt(half)) + 2, 0) if half else 0.0
        self._power = max(reach - 2, 0.5)
        self._most = reach ** (1 / self._power)
        self._bend = reach * math.sqrt(half) / (reach * math.sqrt(half) + 1)
        self._beta = 0.45 * (length - 1) / (0.45 * (length - 1) + 2)
        self._phase = min(max(1.5 + phase / 100, 0.5), 2.5)
        self._calm, self._usual = mean(10), mean(66)
        self._state: tuple[float, ...] | None = None

    def __call__(self, keep: bool, price: float) -> float:
        top, bottom, first, lead, turn, line = self._state or (price, price, price, 0.0, 0.0, price)
        over, under = price - top, price - bottom
        swing = max(abs(over), abs(under)) if abs(over) != abs(under) else 0.0
        usual = self._usual(keep, self._calm(keep, swing))
        wild: float = max(1.0, min(self._most, ratio(swing, usual) if usual == usual and usual else 0.0))
        power: float = wild**self._power
        trail = self._bend ** math.sqrt(power)
        top = price if over > 0 else price - trail * over
        bottom = price if under < 0 else price - trail * under
        alpha: float = self._beta**power
        first = (1 - alpha) * price + alpha * first
        lead = (1 - self._beta) * (price - first) + self._beta * lead
        turn = (first + self._phase * lead - line) * (1 - alpha) ** 2 + alpha * alpha * turn
        line += turn
        if keep:
            self._state = (top, bottom, first, lead, turn, line)
        return line


def kama(length: int, fast: int, slow: int) -> Step:
    return Twin(lambda: of_close(_kama(length, fast, slow)))


def _kama(length: int, fast: int, slow: int) -> Node:
    steady, quick, least = efficiency(length), 2 / (fast + 1), 2 / (slow + 1)

    def speed(keep: bool, value: float) -> float:
        found = steady(keep, value)
        return (found * (quick - least) + least) ** 2 if found == found else least * least

    return adaptive(speed)


def adaptive(speed: Node) -> Node:
    """Return an exponential average that moves by ``speed`` (0 to 1) of the way, from the first value on."""
    held = NAN

    def node(keep: bool, value: float) -> float:
        nonlocal held
        weight = speed(keep, value)
        line = value if held != held or weight != weight else held + weight * (value - held)
        if keep:
            held = line
        return line

    return node


def vidya(length: int) -> Step:
    return Twin(lambda: of_close(adaptive(_vidya(length))))


def _vidya(length: int) -> Node:
    move, up, down, most = change(), total(length), total(length), 2 / (length + 1)

    def speed(keep: bool, value: float) -> float:
        moved = move(keep, value)
        gains, losses = up(keep, max(moved, 0.0)), down(keep, max(-moved, 0.0))
        share = ratio(gains - losses, gains + losses)
        return most * abs(share) if share == share else 0.0

    return speed


def linreg(length: int) -> Step:
    return of_close(forecast(length))


def mama(fastlimit: float, slowlimit: float) -> Step:
    return Twin(lambda: on_close("MAMA", fastlimit=fastlimit, slowlimit=slowlimit))


def mcgd(length: int, c: float) -> Step:
    return Twin(lambda: of_close(_mcgd(c * length)))


def _mcgd(reach: float) -> Node:
    held = NAN

    def node(keep: bool, value: float) -> float:
        nonlocal held
        # never more than the whole way, however far the price fell
        line = (
            value
            if held != held or not held
            else held + (value - held) / max(reach * (value / held) ** 4, 1.0)
        )
        if keep:
            held = line
        return line

    return node


def midpoint(length: int) -> Step:
    top, bottom = highest(length), lowest(length)
    return lambda keep, bar: (top(keep, bar.close) + bottom(keep, bar.close)) / 2


def smma(length: int) -> Step:
    return of_close(rma(length))


class Poles:
    """Ehlers' smoothing filters: a share of the input plus multiples of the last outputs."""

    def __init__(self, share: float, feedback: tuple[float, ...], *, average: bool = False) -> None:
        self._share, self._feedback, self._average = share, feedback, average
        self._past: tuple[float, ...] | None = None
        self._last = 0.0

    def __call__(self, keep: bool, value: float) -> float:
        if self._past is None:
            past, last = (value,) * len(self._feedback), value
        else:
            past, last = self._past, self._last
        source = (value + last) / 2 if self._average else value
        line = self._share * source + math.sumprod(self._feedback, past)
        if keep:
            self._past, self._last = (line, *past[:-1]), value
        return line


def two_poles(length: float) -> Poles:
    """Return the super smoother: a Butterworth filter of two poles, of the mean of two inputs."""
    angle = math.pi * math.sqrt(2) / length
    near, far = 2 * math.exp(-angle) * math.cos(angle), math.exp(-2 * angle)
    return Poles(1 - near + far, (near, -far), average=True)


def ssf(length: int) -> Step:
    return of_close(two_poles(length))


def ssf3(length: int) -> Step:
    decay = math.exp(-math.pi / length)
    near, far = 2 * decay * math.cos(math.pi * math.sqrt(3) / length), decay * decay
    feedback = (near + far, -far * (1 + near), far * far)
    return of_close(Poles(1 - sum(feedback), feedback))


class Supertrend:
    """Settled once it has turned both ways after its ATR has forgotten its start.

    A turn proves that this band was crossed with every longer history, too, since a longer one could only
    make it tighter; a band that was crossed begins anew, so that nothing of the start is left in it.
    """

    def __init__(self, length: int, multiplier: float) -> None:
        self._line = Ta("SUPERTREND", timeperiod=length, multiplier=multiplier)
        self._unsure = settling(length)
        self._trend = 0.0
        self._turned: set[float] = set()

    @property
    def settled(self) -> bool:
        return len(self._turned) == 2

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        line, trend = self._line(keep, bar.high, bar.low, bar.close)
        if keep:
            self._watch(trend)
        return line, trend, line if trend > 0 else NAN, line if trend < 0 else NAN

    def _watch(self, trend: float) -> None:
        if self._unsure > 0:
            self._unsure -= 1
        elif trend != self._trend and not self.settled:
            self._turned.add(trend)
        self._trend = trend


def zlma(length: int) -> Step:
    back, smooth = Lag(max((length - 1) // 2, 1)), ema(length)
    return of_close(lambda keep, value: smooth(keep, 2 * value - back(keep, value)))


KERNELS = {
    "ALLIGATOR": alligator,
    "ALMA": alma,
    "DEMA": dema,
    "EMA": ema_,
    "FWMA": fwma,
    "HILO": hilo,
    "HL2": lambda: lambda keep, bar: (bar.high + bar.low) / 2,
    "HLC3": lambda: lambda keep, bar: (bar.high + bar.low + bar.close) / 3,
    "HMA": hma,
    "HWMA": hwma,
    "ICHIMOKU": ichimoku,
    "JMA": jma,
    "KAMA": kama,
    "LINREG": linreg,
    "MAMA": mama,
    "MCGD": mcgd,
    "MIDPOINT": midpoint,
    "MIDPRICE": lambda length: _middle(length),
    "OHLC4": lambda: lambda keep, bar: (bar.open + bar.high + bar.low + bar.close) / 4,
    "PIVOTS": Pivots,
    "PWMA": pwma,
    "RMA": smma,
    "SINWMA": sinwma,
    "SMA": sma,
    "SMMA": smma,
    "SSF": ssf,
    "SSF3": ssf3,
    "SUPERTREND": Supertrend,
    "SWMA": swma,
    "T3": t3,
    "TEMA": tema,
    "TRIMA": trima,
    "VIDYA": vidya,
    "WCP": lambda: lambda keep, bar: (bar.high + bar.low + 2 * bar.close) / 4,
    "WMA": wma_,
    "ZLMA": zlma,
}
