"""Small streaming parts that kernels are composed of.

A node is called with ``keep`` first: True takes the value in for good, False tells what that would give and
changes nothing. NaN means "not yet" or "undefined" inside the kernels; a node that is given NaN returns NaN
and skips it.
"""

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import talib.abstract
from talib import stream

from stocksblitz.market.bars import Bar

NAN = math.nan

type Node = Callable[[bool, float], float]
type Step = Callable[[bool, Bar], float | tuple[float, ...]]
"""A whole kernel: a bar in, its value or the values of its parts out. May have an attribute ``settled``."""


class Ta:
    """A TA-Lib function of one or more inputs, carried by its streaming handle once there are bars enough."""

    __slots__ = ("_empty", "_function", "_need", "_params", "_peek", "_rows", "_update")

    def __init__(self, name: str, **params: float) -> None:
        info = talib.abstract.Function(name)  # type: ignore[attr-defined]
        info.parameters = params
        self._function, self._params = getattr(stream, name), params
        self._need = info.lookback + 1
        outputs = len(info.output_names)
        self._empty = NAN if outputs == 1 else (NAN,) * outputs
        self._rows: list[tuple[float, ...]] = []
        self._update = self._peek = None

    def __call__(self, keep: bool, *values: float):  # type: ignore[no-untyped-def]
        if self._update is None:
            return self._warm(keep, values)
        return self._update(*values) if keep else self._peek(*values)

    def _warm(self, keep: bool, values: tuple[float, ...]):  # type: ignore[no-untyped-def]
        rows = [*self._rows, values]
        handle = self._open(rows) if len(rows) >= self._need else None
        if keep:
            self._rows = rows
            if handle is not None:
                self._update, self._peek, self._rows = handle.update, handle.peek, []
        return self._empty if handle is None else handle.value

    def _open(self, rows: list[tuple[float, ...]]):  # type: ignore[no-untyped-def]
        try:
            return self._function(*np.array(rows, dtype=np.float64).T.copy(), **self._params)
        except talib.InsufficientHistory:  # type: ignore[attr-defined]
            return None


class Smooth(Ta):
    """A TA-Lib function of one input that may not be there yet."""

    __slots__ = ()

    def __call__(self, keep: bool, value: float):  # type: ignore[no-untyped-def,override]
        if value - value != 0.0:
            return self._empty
        if self._update is None:
            return self._warm(keep, (value,))
        return self._update(value) if keep else self._peek(value)


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
    """Exponential average, seeded with a simple one."""
    return Ewm(2 / (period + 1), period)


def rma(period: int) -> Ewm:
    """Wilder's average, seeded with a simple one."""
    return Ewm(1 / period, period)


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


def ratio(value: float, by: float) -> float:
    """A quotient, NaN where it is undefined."""
    return value / by if by else NAN
