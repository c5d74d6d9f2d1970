"""Kernels of the momentum family: how far and how steadily prices moved."""

import math
from collections.abc import Sequence

from indicators.engine.kernels.nodes import (
    NAN,
    Ewm,
    Lag,
    Node,
    Rolling,
    Step,
    Ta,
    atr,
    change,
    ema,
    forecast,
    highest,
    lowest,
    mean,
    on_close,
    on_range,
    rate,
    ratio,
    total,
    weighted,
    wma,
)
from stocksblitz.market.core.bars import Bar


def bias(length: int) -> Step:
    average = mean(length)
    return lambda keep, bar: ratio(bar.close, average(keep, bar.close)) - 1


def bop(scalar: float) -> Step:
    line = Ta("BOP")
    return lambda keep, bar: scalar * line(keep, bar.open, bar.high, bar.low, bar.close)


def brar(length: int, scalar: float) -> Step:
    up, down, above, below = (total(length) for _ in range(4))
    before = Lag()

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        past = before(keep, bar.close)
        bought = ratio(up(keep, bar.high - bar.open), down(keep, bar.open - bar.low))
        # max() keeps its first argument where the other is NaN
        over, under = max(bar.high - past, 0), max(past - bar.low, 0)
        return scalar * bought, scalar * ratio(above(keep, over), below(keep, under))

    return step


def cci(length: int) -> Step:
    return on_range("CCI", timeperiod=length)


def cfo(length: int, scalar: float) -> Step:
    line = forecast(length, 1)
    return lambda keep, bar: scalar * ratio(bar.close - line(keep, bar.close), bar.close)


def cg(length: int) -> Step:
    def balance(window: Sequence[float]) -> float:
        return -ratio(math.sumprod(range(length, 0, -1), window), sum(window))

    line = Rolling(length, balance)
    return lambda keep, bar: line(keep, bar.close)


def cmo(length: int, scalar: float) -> Step:
    move, up, down = change(), total(length), total(length)

    def step(keep: bool, bar: Bar) -> float:
        moved = move(keep, bar.close)
        if moved != moved:
            return NAN
        gains, losses = up(keep, max(moved, 0.0)), down(keep, max(-moved, 0.0))
        return scalar * ratio(gains - losses, gains + losses)

    return step


def coppock(length: int, fast: int, slow: int) -> Step:
    quick, steady, smooth = rate(fast), rate(slow), wma(length)
    return lambda keep, bar: smooth(keep, 100 * (quick(keep, bar.close) + steady(keep, bar.close)))


def _streak() -> Node:
    move, held = change(), 0.0

    def node(keep: bool, value: float) -> float:
        nonlocal held
        moved = move(keep, value)
        result = max(held, 0) + 1 if moved > 0 else min(held, 0) - 1 if moved < 0 else 0.0
        if keep:
            held = result
        return result

    return node


def _rank(length: int) -> Node:
    """Return how many percent of the ``length`` values before are at most the newest one."""
    return Rolling(length + 1, lambda w: 100 * sum(value <= w[-1] for value in list(w)[:-1]) / length)


def crsi(rsi_length: int, streak_length: int, rank_length: int) -> Step:
    strength, run, runs = Ta("RSI", timeperiod=rsi_length), _streak(), Ta("RSI", timeperiod=streak_length)
    move, rank = rate(), _rank(rank_length)

    def step(keep: bool, bar: Bar) -> float:
        close = bar.close
        parts = strength(keep, close) + runs(keep, run(keep, close)) + rank(keep, move(keep, close))
        return float(parts) / 3

    return step


def cti(length: int) -> Step:
    middle = (length - 1) / 2
    places = tuple(i - middle for i in range(length))
    norm = math.sqrt(math.sumprod(places, places))

    def correlation(window: Sequence[float]) -> float:
        average = sum(window) / length
        off = [value - average for value in window]
        return ratio(math.sumprod(places, off), norm * math.sqrt(math.sumprod(off, off)))

    line = Rolling(length, correlation)
    return lambda keep, bar: line(keep, bar.close)


def dm(length: int) -> Step:
    plus, minus = Ta("PLUS_DM", timeperiod=length), Ta("MINUS_DM", timeperiod=length)
    return lambda keep, bar: (plus(keep, bar.high, bar.low), minus(keep, bar.high, bar.low))


def efficiency(length: int) -> Node:
    """Return the net move over the sum of moves (Kaufman's efficiency)."""
    net, move, path = change(length), change(), total(length)
    return lambda keep, value: ratio(abs(net(keep, value)), path(keep, abs(move(keep, value))))


def er(length: int) -> Step:
    line = efficiency(length)
    return lambda keep, bar: line(keep, bar.close)


def eri(length: int) -> Step:
    average = ema(length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        middle = average(keep, bar.close)
        return bar.high - middle, bar.low - middle

    return step


def exhc(length: int, cap: int) -> Step:
    move, fallen, risen = change(length), 0, 0

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal fallen, risen
        moved = move(keep, bar.close)
        down = min(fallen + 1, cap) if moved < 0 else 0
        up = min(risen + 1, cap) if moved > 0 else 0
        if keep:
            fallen, risen = down, up
        return down, up

    return step


def fisher(length: int) -> Step:
    top, bottom, held, line = highest(length), lowest(length), 0.0, 0.0

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        nonlocal held, line
        middle = (bar.high + bar.low) / 2
        low = bottom(keep, middle)
        place = (middle - low) / max(top(keep, middle) - low, 0.001) - 0.5
        if place != place:
            return NAN, NAN
        value = 0.66 * place + 0.67 * held
        value = math.copysign(0.999, value) if abs(value) > 0.99 else value
        before, result = line, math.atanh(value) + line / 2
        if keep:
            held, line = value, result
        return result, before

    return step


def kdj(length: int, signal: int) -> Step:
    top, bottom, quick, slow = highest(length), lowest(length), Ewm(1 / signal), Ewm(1 / signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        high, low = top(keep, bar.high), bottom(keep, bar.low)
        k = quick(keep, 100 * ratio(bar.close - low, high - low))
        d = slow(keep, k)
        return k, d, 3 * k - 2 * d

    return step


def kst(
    roc1: int, roc2: int, roc3: int, roc4: int, sma1: int, sma2: int, sma3: int, sma4: int, signal: int
) -> Step:
    rates = [rate(bars) for bars in (roc1, roc2, roc3, roc4)]
    smooth = [mean(bars) for bars in (sma1, sma2, sma3, sma4)]
    average = mean(signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        parts = (
            i * s(keep, r(keep, bar.close)) for i, (r, s) in enumerate(zip(rates, smooth, strict=True), 1)
        )
        line = 100 * sum(parts)
        return line, average(keep, line)

    return step


def mom(length: int) -> Step:
    return on_close("MOM", timeperiod=length)


def pgo(length: int) -> Step:
    average, swing, smooth = mean(length), atr(length), ema(length)
    return lambda keep, bar: ratio(bar.close - average(keep, bar.close), smooth(keep, swing(keep, bar)))


def psl(length: int, scalar: float) -> Step:
    move, rises = change(), total(length)

    def step(keep: bool, bar: Bar) -> float:
        moved = move(keep, bar.close)
        return NAN if moved != moved else scalar * rises(keep, float(moved > 0)) / length

    return step


def roc(length: int, scalar: float) -> Step:
    line = rate(length)
    return lambda keep, bar: scalar * line(keep, bar.close)


def rsi(length: int, scalar: float) -> Step:
    line, factor = Ta("RSI", timeperiod=length), scalar / 100
    return lambda keep, bar: line(keep, bar.close) * factor


def rvgi(length: int, swma_length: int) -> Step:
    half = [min(i, swma_length + 1 - i) for i in range(1, swma_length + 1)]
    body, swing, signal = weighted(half), weighted(half), weighted(half)
    bodies, swings = total(length), total(length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        moved = bodies(keep, body(keep, bar.close - bar.open))
        line = ratio(moved, swings(keep, swing(keep, bar.high - bar.low)))
        return line, signal(keep, line)

    return step


def slope_(length: int) -> Step:
    move = change(length)
    return lambda keep, bar: move(keep, bar.close) / length


def stoch(k: int, d: int, smooth_k: int) -> Step:
    return on_range(
        "STOCH", fastk_period=k, slowk_period=smooth_k, slowk_matype=0, slowd_period=d, slowd_matype=0
    )


def stochf(k: int, d: int) -> Step:
    return on_range("STOCHF", fastk_period=k, fastd_period=d, fastd_matype=0)


def stochrsi(length: int, rsi_length: int, k: int, d: int) -> Step:
    strength, top, bottom = Ta("RSI", timeperiod=rsi_length), highest(length), lowest(length)
    quick, slow = mean(k), mean(d)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        value = strength(keep, bar.close)
        high, low = top(keep, value), bottom(keep, value)
        line = quick(keep, 100 * ratio(value - low, high - low))
        return line, slow(keep, line)

    return step


def uo(fast: int, medium: int, slow: int) -> Step:
    return on_range("ULTOSC", timeperiod1=fast, timeperiod2=medium, timeperiod3=slow)


def willr(length: int) -> Step:
    return on_range("WILLR", timeperiod=length)


KERNELS = {
    "BIAS": bias,
    "BOP": bop,
    "BRAR": brar,
    "CCI": cci,
    "CFO": cfo,
    "CG": cg,
    "CMO": cmo,
    "COPPOCK": coppock,
    "CRSI": crsi,
    "CTI": cti,
    "DM": dm,
    "ER": er,
    "ERI": eri,
    "EXHC": exhc,
    "FISHER": fisher,
    "KDJ": kdj,
    "KST": kst,
    "MOM": mom,
    "PGO": pgo,
    "PSL": psl,
    "ROC": roc,
    "RSI": rsi,
    "RVGI": rvgi,
    "SLOPE": slope_,
    "STOCH": stoch,
    "STOCHF": stochf,
    "STOCHRSI": stochrsi,
    "UO": uo,
    "WILLR": willr,
}
