"""Small streaming parts that kernels are composed of.

A node is called with ``keep`` first: True takes the value in for good, False tells what that would give and
changes nothing. NaN means "not yet" or "undefined" inside the kernels; a node that is given NaN returns NaN
and skips it (`Lag` alone keeps it, as it counts bars).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import talib
from talib import abstract, stream

from stocksblitz.market.core.bars import Bar

NAN = math.nan

type Node = Callable[[bool, float], float]
type Step = Callable[[bool, Bar], Any]
"""A whole kernel: a bar in, its value or the values of its parts out. May have an attribute ``settled``."""


class Ta:
    """A TA-Lib function of one or more inputs, carried by its streaming handle once there are bars enough."""

    __slots__ = ("_empty", "_function", "_need", "_params", "_peek", "_rows", "_update")

    def __init__(self, name: str, **params: float) -> None:
        info = abstract.Function(name)  # type: ignore[attr-defined]  # made when talib is imported
        info.parameters = params
        self._function, self._params = getattr(stream, name), params
        self._need = info.lookback + 1
        outputs = len(info.output_names)
        self._empty = NAN if outputs == 1 else (NAN,) * outputs
        self._rows: list[tuple[float, ...]] = []
        self._update = self._peek = None

    def __call__(self, keep: bool, *values: float) -> Any:
        if self._update is None:
            return self._warm(keep, values)
        return self._update(*values) if keep else self._peek(*values)

    def _warm(self, keep: bool, values: tuple[float, ...]) -> Any:
        rows = [*self._rows, values]
        handle = self._open(rows) if len(rows) >= self._need else None
        if keep:
            self._rows = rows
            if handle is not None:
                self._update, self._peek, self._rows = handle.update, handle.peek, []
        return self._empty if handle is None else handle.value

    def _open(self, rows: list[tuple[float, ...]]) -> Any:
        try:
            return self._function(*np.array(rows, dtype=np.float64).T.copy(), **self._params)
        except talib.InsufficientHistory:  # type: ignore[attr-defined]  # compiled, and no stub tells of it
            return None


def on_close(name: str, **params: float) -> Step:
    """Return a TA-Lib function of the close as a kernel."""
    line = Ta(name, **params)
    return lambda keep, bar: line(keep, bar.close)


def on_range(name: str, **params: float) -> Step:
    """Return a TA-Lib function of high, low and close as a kernel."""
    line = Ta(name, **params)
    return lambda keep, bar: line(keep, bar.high, bar.low, bar.close)


class Ewm:
    """An exponential average with weight ``alpha``, seeded with the mean of the first ``seed`` values."""

    __slots__ = ("_alpha", "_count", "_seed", "_value")

    def __init__(self, alpha: float, seed: int = 1) -> None:
        self._alpha, self._seed, self._count, self._value = alpha, seed, 0, 0.0

    def __call__(self, keep: bool, value: float) -> float:
        if value - value != 0.0:
            return NAN
        count = self._count + 1
        weight = self._alpha if count > self._seed else 1 / count
        result = self._value + weight * (value - self._value)
        if keep:
            self._value, self._count = result, count
        return result if count >= self._seed else NAN


def ema(period: int) -> Ewm:
    """Return an exponential average, seeded with a simple one."""
    return Ewm(2 / (period + 1), period)


def rma(period: int) -> Ewm:
    """Return Wilder's average, seeded with a simple one."""
    return Ewm(1 / period, period)


class Rolling:
    """A function of the last ``bars`` values, oldest first; computed from all of them each time, so it never drifts."""

    __slots__ = ("_bars", "_function", "_values")

    def __init__(self, bars: int, function: Callable[[Sequence[float]], float]) -> None:
        self._bars, self._function, self._values = bars, function, deque[float](maxlen=bars)

    def __call__(self, keep: bool, value: float) -> float:
        if value - value != 0.0:
            return NAN
        window: Sequence[float] = self._values
        if keep:
            self._values.append(value)
        else:
            window = [*self._values, value][-self._bars :]
        return self._function(window) if len(window) == self._bars else NAN


def total(bars: int) -> Rolling:
    return Rolling(bars, sum)


def mean(bars: int) -> Rolling:
    return Rolling(bars, lambda window: sum(window) / bars)


def highest(bars: int) -> Rolling:
    return Rolling(bars, max)


def lowest(bars: int) -> Rolling:
    return Rolling(bars, min)


def variance(bars: int, ddof: int = 0) -> Rolling:
    """Return the variance of the population, or of a sample with ``ddof`` 1."""

    def compute(window: Sequence[float]) -> float:
        average = sum(window) / bars
        off = [value - average for value in window]
        return math.sumprod(off, off) / (bars - ddof)

    return Rolling(bars, compute)


def deviation(bars: int, ddof: int = 0) -> Node:
    """Return the square root of `variance`."""
    spread = variance(bars, ddof)
    return lambda keep, value: math.sqrt(spread(keep, value))


def weighted(weights: Iterable[float]) -> Rolling:
    """Return the weighted mean of as many values as there are weights, the oldest first."""
    scaled = tuple(weights)
    whole = sum(scaled)
    scaled = tuple(weight / whole for weight in scaled)
    return Rolling(len(scaled), lambda window: math.sumprod(scaled, window))


def wma(bars: int) -> Rolling:
    """Return a linearly weighted average."""
    return weighted(range(1, bars + 1))


def slope(bars: int) -> Rolling:
    """Return the slope per bar of the least-squares line."""
    middle = (bars - 1) / 2
    square = sum((i - middle) ** 2 for i in range(bars))
    weights = tuple((i - middle) / square for i in range(bars))
    return Rolling(bars, lambda window: math.sumprod(weights, window))


def forecast(bars: int, ahead: float = 0) -> Node:
    """Return the least-squares line ``ahead`` bars beyond the newest one."""
    rise, middle = slope(bars), mean(bars)
    reach = (bars - 1) / 2 + ahead
    return lambda keep, value: middle(keep, value) + rise(keep, value) * reach


class Lag:
    """The value ``bars`` bars ago."""

    __slots__ = ("_bars", "_values")

    def __init__(self, bars: int = 1) -> None:
        self._bars, self._values = bars, deque[float](maxlen=bars)

    def __call__(self, keep: bool, value: float) -> float:
        values = self._values
        past = values[0] if len(values) == self._bars else NAN
        if keep:
            values.append(value)
        return past


def change(bars: int = 1) -> Node:
    """Return the difference to the value ``bars`` bars ago."""
    lag = Lag(bars)
    return lambda keep, value: value - lag(keep, value)


def rate(bars: int = 1) -> Node:
    """Return the change to the value ``bars`` bars ago, as a fraction of it."""
    lag = Lag(bars)

    def node(keep: bool, value: float) -> float:
        past = lag(keep, value)
        return ratio(value - past, past)

    return node


def true_range() -> Step:
    """Return the true range; of the first bar high less low, as TradingView's ATR begins."""
    before = Lag()

    def step(keep: bool, bar: Bar) -> float:
        past = before(keep, bar.close)
        if past - past != 0.0:
            return bar.high - bar.low
        return max(bar.high, past) - min(bar.low, past)

    return step


def atr(bars: int, average: Callable[[int], Node] = rma) -> Step:
    """Return an average of the true range."""
    range_, smooth = true_range(), average(bars)
    return lambda keep, bar: smooth(keep, range_(keep, bar))


def ratio(value: float, by: float) -> float:
    """Return a quotient, NaN where it is undefined."""
    return value / by if by else NAN


class Ratchet:
    """A line that only rises while up and only falls while not: pushed by an edge or left where it is.

    Settled once the edge has pushed it both ways: a line of a longer history is at most where the first push
    left it on that side, so that the push the other way takes both to the same edge. ``unsure``: bars until the
    edges themselves have settled.
    """

    def __init__(self, unsure: int) -> None:
        self._held, self._unsure = NAN, unsure
        self._pushed: set[bool] = set()

    @property
    def settled(self) -> bool:
        return len(self._pushed) == 2

    def __call__(self, keep: bool, up: bool, edge: float) -> float:
        held = self._held
        # max() and min() give their first argument where the other is NaN
        line = max(edge, held) if up else min(edge, held)
        if keep:
            self._held = line
            if self._unsure > 0:
                self._unsure -= 1
            elif line != held and not self.settled:
                self._pushed.add(up)
        return line


class Twin:
    """A kernel whose memory depends on the data: settled once a twin that began later gives the same values.

    ``hidden``: the kernel gives more than its value, so that both can be compared by what they carry on.
    """

    LATER = 40
    """Bars by which the twin is behind."""
    AGREED = 40
    """Bars in a row on which both must agree."""
    TOLERANCE = 1e-9

    def __init__(self, make: Callable[[], Step], *, hidden: bool = False) -> None:
        self._step, self._twin, self._hidden = make(), make(), hidden
        self._behind, self._agreed, self.settled = self.LATER, 0, False

    def __call__(self, keep: bool, bar: Bar) -> Any:
        value = self._step(keep, bar)
        if keep and not self.settled:
            self._compare(bar, value)
        return value[0] if self._hidden else value

    def _compare(self, bar: Bar, value: Any) -> None:
        if self._behind:
            self._behind -= 1
            return
        other = self._twin(True, bar)
        agree = all(map(self._same, value, other)) if isinstance(value, tuple) else self._same(value, other)
        self._agreed = self._agreed + 1 if agree else 0
        if self._agreed == self.AGREED:
            self.settled, self._twin = True, self._step

    def _same(self, value: float, other: float) -> bool:
        return abs(value - other) <= self.TOLERANCE * abs(value) or (value != value and other != other)
