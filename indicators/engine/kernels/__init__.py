"""One indicator as a state machine: opened on history, advanced by closed bars, and peeked with a forming one."""

from collections.abc import Callable, Iterable
from math import nan

from indicators.engine.kernels import (
    candles,
    momentum,
    oscillators,
    overlap,
    statistics,
    trend,
    volatility,
    volume,
)
from indicators.engine.kernels.nodes import Step
from indicators.engine.spec import Spec
from stocksblitz.market.core.bars import Bar

__all__ = ["Kernel", "Value", "open_kernel"]

type Value = float | dict[str, float | None] | None

FACTORIES: dict[str, Callable[..., Step]] = {
    name: factory
    for family in (overlap, momentum, oscillators, trend, volatility, volume, statistics, candles)
    for name, factory in family.KERNELS.items()
}


class Kernel:
    """The values of one indicator, bar by bar. Bars are finite (`indicators.engine.stream.clean` sees to it).

    Values are finite floats or None; a part that is undefined is None.
    ``ready``: whether the next value, and with it every later one, agrees with any longer history.
    """

    __slots__ = ("_last", "_last_ready", "_parts", "_settles", "_step", "_warming", "ready", "spec")

    def __init__(self, spec: Spec, bars: Iterable[Bar] = ()) -> None:
        self.spec = spec
        self._parts, self._settles = spec.entry.parts, spec.entry.settles
        self._step = FACTORIES[spec.name](**spec.params)
        self._warming, self.ready = spec.warmup - 1, spec.warmup <= 1 and not self._settles
        self._last: float | tuple[float, ...] = nan
        self._last_ready = False
        for bar in bars:
            self._keep(bar)

    def update(self, bar: Bar) -> Value:
        """Take in a closed bar and return the value."""
        return self._shape(self._keep(bar))

    def peek(self, bar: Bar) -> Value:
        """Return what `update` with this bar would give; nothing is changed."""
        return self._shape(self._step(False, bar))

    def last(self) -> tuple[Value, bool]:
        """Return the value at the last closed bar and whether it was ready; None before the first."""
        return (self._shape(self._last) if self._last_ready else None), self._last_ready

    def _keep(self, bar: Bar) -> float | tuple[float, ...]:
        self._last, self._last_ready = self._step(True, bar), self.ready
        if not self.ready:
            self._warming -= 1
            self.ready = self._warming <= 0 and (not self._settles or self._step.settled)  # type: ignore[attr-defined]  # see Step
        return self._last

    def _shape(self, value: float | tuple[float, ...]) -> Value:
        if isinstance(value, tuple):
            return _named(self._parts, value)
        return value if value - value == 0.0 else None


def _named(names: tuple[str, ...], values: tuple[float, ...]) -> Value:
    found: dict[str, float | None] = dict(zip(names, values))  # noqa: B905 (this runs for every tick)
    whole = sum(values)
    if whole - whole == 0.0:
        return found
    undefined = [name for name, value in zip(names, values, strict=True) if value - value != 0.0]
    return found | dict.fromkeys(undefined) if len(undefined) < len(names) else None


def open_kernel(spec: Spec, bars: Iterable[Bar] = ()) -> Kernel:
    """Return the kernel of a spec after these closed bars, oldest first."""
    return Kernel(spec, bars)
