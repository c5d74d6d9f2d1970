"""Kernels of the momentum family that set averages against each other."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from indicators.engine.kernels.nodes import (
    NAN,
    Lag,
    Node,
    Rolling,
    Step,
    Ta,
    Twin,
    change,
    deviation,
    ema,
    forecast,
    highest,
    lowest,
    mean,
    rate,
    ratio,
    true_range,
)
from stocksblitz.market.core.bars import Bar

PERCENT = 100


def ao(fast: int, slow: int) -> Step:
    quick, steady = mean(fast), mean(slow)

    def step(keep: bool, bar: Bar) -> float:
        middle = (bar.high + bar.low) / 2
        return quick(keep, middle) - steady(keep, middle)

    return step


def apo(fast: int, slow: int) -> Step:
    quick, steady = ema(fast), ema(slow)
    return lambda keep, bar: quick(keep, bar.close) - steady(keep, bar.close)


def spread(fast: int, slow: int, signal: int, scalar: float) -> Callable[[bool, float], tuple[float, ...]]:
    """Return the distance of two EMAs relative to the slow one: the line, its distance to the signal, the signal."""
    quick, steady, average = ema(fast), ema(slow), ema(signal)

    def node(keep: bool, value: float) -> tuple[float, ...]:
        base = steady(keep, value)
        line = scalar * ratio(quick(keep, value) - base, base)
        mark = average(keep, line)
        return line, line - mark, mark

    return node


def ppo(fast: int, slow: int, signal: int, scalar: float) -> Step:
    lines = spread(fast, slow, signal, scalar)
    return lambda keep, bar: lines(keep, bar.close)


def macd(fast: int, slow: int, signal: int) -> Step:
    lines = Ta("MACD", fastperiod=fast, slowperiod=slow, signalperiod=signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line, average, histogram = lines(keep, bar.close)
        return line, histogram, average

    return step


def volatility_index(length: int) -> Node:
    """Return Dorsey's relative volatility index: deviations of rising closes against all, 0 to 100."""
    wide, move, up, down = deviation(length), change(), ema(length), ema(length)

    def node(keep: bool, value: float) -> float:
        width, moved = wide(keep, value), move(keep, value)
        if width != width or moved != moved:
            return NAN
        rising, falling = up(keep, width if moved > 0 else 0.0), down(keep, width if moved < 0 else 0.0)
        return PERCENT * ratio(rising, rising + falling)

    return node


def inertia(length: int, rvi_length: int) -> Step:
    index, line = volatility_index(rvi_length), forecast(length)
    return lambda keep, bar: line(keep, index(keep, bar.close))


def qqe(length: int, smooth: int, factor: float) -> Step:
    return Twin(partial(_Qqe, length, smooth, factor))


class _Qqe:
    """A smoothed RSI and the band that trails it, `factor` times its usual move away."""

    def __init__(self, length: int, smooth: int, factor: float) -> None:
        self._rsi, self._smooth, self._move = Ta("RSI", timeperiod=length), ema(smooth), change()
        self._usual, self._calm, self._factor = ema(2 * length - 1), ema(2 * length - 1), factor
        self._state = (NAN, 0.0, 0.0, 0.0, 0.0, 1.0)

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        past, long, longer, short, shorter, trend = self._state
        line = self._smooth(keep, self._rsi(keep, bar.close))
        width = self._factor * self._calm(keep, self._usual(keep, abs(self._move(keep, line))))
        if width != width:
            return NAN, line, NAN, NAN
        low, high = line - width, line + width
        floor = max(long, low) if past > long and line > long else low
        ceiling = min(short, high) if past < short and line < short else high
        if (line > short and past < shorter) or (line <= short and past >= shorter):
            trend = 1.0
        elif (line > long and past < longer) or (line <= long and past >= longer):
            trend = -1.0
        if keep:
            self._state = (line, floor, long, ceiling, short, trend)
        return (floor, line, floor, NAN) if trend > 0 else (ceiling, line, NAN, ceiling)


def rsx(length: int) -> Step:
    gain = 3 / (length + 2)
    moves, sizes, move = _Jurik(gain), _Jurik(gain), change()

    def step(keep: bool, bar: Bar) -> float:
        moved = move(keep, bar.close)
        if moved != moved:
            return NAN
        size = sizes(keep, abs(moved))
        net = moves(keep, moved)
        return min(max(50 * (net / size + 1), 0.0), 100.0) if size > 0 else 50.0

    return step


class _Jurik:
    """Three pairs of smoothings, each with half of its lag taken out again."""

    def __init__(self, gain: float) -> None:
        self._gain = gain
        self._state: tuple[float, ...] = (0.0,) * 6

    def __call__(self, keep: bool, value: float) -> float:
        state: list[float] = []
        for once, twice in zip(self._state[::2], self._state[1::2], strict=True):
            once += self._gain * (value - once)
            twice += self._gain * (once - twice)
            state += (once, twice)
            value = 1.5 * once - 0.5 * twice
        if keep:
            self._state = tuple(state)
        return value


def smc(abr_length: int, close_length: int, vol_length: int, percent: float, vol_ratio: float) -> Step:
    top, bottom, usual = highest(abr_length), lowest(abr_length), mean(vol_length)
    highs, lows = Lag(2), Lag(2)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        high, low, swing = bar.high, bar.low, bar.high - bar.low
        span = top(keep, high) - bottom(keep, low)
        above, below = low - highs(keep, high), lows(keep, low) - high
        rise, fall = PERCENT * ratio(above, span), PERCENT * ratio(below, span)
        wild = swing > vol_ratio * usual(keep, swing)
        return (
            float(wild),
            float(above > 0 and rise > 1),
            above,
            rise,
            float(below > 0 and fall > 1),
            below,
            fall,
        )

    return step


def strength(fast: int, slow: int) -> Node:
    """True strength: the twice smoothed move over the twice smoothed size of it, -1 to 1."""
    move = change()
    first, second, size, sizes = ema(slow), ema(fast), ema(slow), ema(fast)

    def node(keep: bool, value: float) -> float:
        moved = move(keep, value)
        return ratio(second(keep, first(keep, moved)), sizes(keep, size(keep, abs(moved))))

    return node


def tsi(fast: int, slow: int, signal: int, scalar: float) -> Step:
    line, average = strength(fast, slow), ema(signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        value = scalar * line(keep, bar.close)
        return value, average(keep, value)

    return step


def smi(fast: int, slow: int, signal: int, scalar: float) -> Step:
    lines = tsi(fast, slow, signal, scalar)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line, mark = lines(keep, bar)
        return line, mark, line - mark

    return step


class _Squeeze:
    """Momentum, and how wide the Bollinger Bands are against Keltner channels of several widths."""

    def __init__(self, bb_length: int, kc_length: int, mom_length: int, mom_smooth: int) -> None:
        self._middle, self._wide = mean(bb_length), deviation(bb_length)
        self._base, self._range, self._swing = mean(kc_length), true_range(), mean(kc_length)
        self._move, self._smooth = change(mom_length), mean(mom_smooth)

    def __call__(
        self, keep: bool, bar: Bar, std: float, widths: tuple[float, ...]
    ) -> tuple[float, list[tuple[bool, bool]]]:
        """Return the momentum, and for each width whether the bands are inside the channel and whether outside."""
        close = bar.close
        band, middle = std * self._wide(keep, close), self._middle(keep, close)
        base, swing = self._base(keep, close), self._swing(keep, self._range(keep, bar))
        line = self._smooth(keep, self._move(keep, close))
        low, high = middle - band, middle + band
        rims = [(base - width * swing, base + width * swing) for width in widths]
        return line, [(low > under and high < over, low < under and high > over) for under, over in rims]


def squeeze(
    bb_length: int, bb_std: float, kc_length: int, kc_scalar: float, mom_length: int, mom_smooth: int
) -> Step:
    compute = _Squeeze(bb_length, kc_length, mom_length, mom_smooth)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line, [(inside, outside)] = compute(keep, bar, bb_std, (kc_scalar,))
        return line, float(inside), float(outside), float(not inside and not outside)

    return step


def squeeze_pro(
    bb_length: int,
    bb_std: float,
    kc_length: int,
    kc_scalar_wide: float,
    kc_scalar_normal: float,
    kc_scalar_narrow: float,
    mom_length: int,
    mom_smooth: int,
) -> Step:
    compute = _Squeeze(bb_length, kc_length, mom_length, mom_smooth)
    widths = (kc_scalar_wide, kc_scalar_normal, kc_scalar_narrow)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line, found = compute(keep, bar, bb_std, widths)
        (wide, off), (normal, _), (narrow, _) = found
        return line, float(wide), float(normal), float(narrow), float(off), float(not wide and not off)

    return step


def stc(tc_length: int, fast: int, slow: int, factor: float) -> Step:
    return Twin(partial(_Stc, tc_length, fast, slow, factor))


class _Stc:
    """The MACD line taken through a smoothed stochastic twice."""

    def __init__(self, tc_length: int, fast: int, slow: int, factor: float) -> None:
        self._quick, self._steady, self._factor = ema(fast), ema(slow), factor
        self._windows = [Rolling(tc_length, _place) for _ in range(2)]
        self._state = (0.0, 0.0, 0.0, 0.0)

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        line = self._quick(keep, bar.close) - self._steady(keep, bar.close)
        first, smooth, second, result = self._state
        place = self._windows[0](keep, line)
        first = first if place != place else place
        smooth += self._factor * (first - smooth)
        if line == line:
            place = self._windows[1](keep, smooth)
            second = second if place != place else place
            result += self._factor * (second - result)
        if keep:
            self._state = (first, smooth, second, result)
        return result, line, smooth


def _place(window: Sequence[float]) -> float:
    """Return where the newest value stands between the lowest and the highest, 0 to 100."""
    values = list(window)
    low = min(values)
    return PERCENT * ratio(values[-1] - low, max(values) - low)


def tmo(tmo_length: int, calc_length: int, smooth_length: int) -> Step:
    opens: Any = Rolling(tmo_length + 1, list)  # type: ignore[arg-type]  # its value is the window itself
    first, main, smooth = ema(calc_length), ema(smooth_length), ema(smooth_length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        window = opens(keep, bar.open)
        if window != window:
            return NAN, NAN
        close = bar.close
        signs = sum((close > past) - (close < past) for past in window[:-1])
        line = main(keep, first(keep, float(signs)))
        return line, smooth(keep, line)

    return step


def trix(length: int, signal: int, scalar: float) -> Step:
    first, second, third, move, average = ema(length), ema(length), ema(length), rate(), mean(signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line = scalar * move(keep, third(keep, second(keep, first(keep, bar.close))))
        return line, average(keep, line)

    return step


KERNELS = {
    "AO": ao,
    "APO": apo,
    "INERTIA": inertia,
    "MACD": macd,
    "PPO": ppo,
    "QQE": qqe,
    "RSX": rsx,
    "SMC": smc,
    "SMI": smi,
    "SQUEEZE": squeeze,
    "SQUEEZE_PRO": squeeze_pro,
    "STC": stc,
    "TMO": tmo,
    "TRIX": trix,
    "TSI": tsi,
}
