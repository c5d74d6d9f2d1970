"""One indicator as a state machine: opened from history, moved on by closed bars, asked of a forming one."""

from collections.abc import Callable, Iterable

from indicators.kernels import momentum, overlap, trend, volatility, volume
from indicators.kernels.nodes import Step
from indicators.spec import Spec
from stocksblitz.market.bars import Bar

__all__ = ["Kernel", "Value", "open_kernel"]

type Value = float | dict[str, float | None] | None

FACTORIES: dict[str, Callable[..., Step]] = {
    name: factory
    for family in (overlap, momentum, trend, volatility, volume)
    for name, factory in family.KERNELS.items()
}


class Kernel:
    """The values of one indicator, bar by bar. Bars are finite (`indicators.engine.clean` sees to it).

    Values are finite floats or None; a part that is undefined is None.
    """

    __slots__ = ("_last", "_parts", "_step", "count", "spec", "warmup")

    def __init__(self, spec: Spec, bars: Iterable[Bar] = ()) -> None:
        self.spec, self.warmup, self.count = spec, spec.warmup, 0
        self._parts = spec.entry.parts
        self._step = FACTORIES[spec.name](**spec.params)
        self._last: float | tuple[float, ...] | None = None
        for bar in bars:
            self._last = self._step(True, bar)
            self.count += 1

    def update(self, bar: Bar) -> Value:
        """Take in a closed bar."""
        self.count += 1
        self._last = self._step(True, bar)
        return self._shape(self._last)

    def last(self) -> Value:
        """The value at the last closed bar, None before the first."""
        return None if self._last is None else self._shape(self._last)

    def peek(self, bar: Bar) -> Value:
        """What `update` with this bar would give; nothing is changed."""
        return self._shape(self._step(False, bar))

    @property
    def settled(self) -> bool:
        """Whether the data, too, say that a longer history would change nothing (see `Entry.settles`)."""
        return getattr(self._step, "settled", True)

    def _shape(self, value: float | tuple[float, ...]) -> Value:
        if self._parts:
            return _parts(self._parts, value)  # type: ignore[arg-type]
        return value if value - value == 0.0 else None  # type: ignore[operator,return-value]


def _parts(names: tuple[str, ...], values: tuple[float, ...]) -> Value:
    found = {name: value if value - value == 0.0 else None for name, value in zip(names, values)}  # noqa: B905
    return found if any(value is not None for value in values) else None


def open_kernel(spec: Spec, bars: Iterable[Bar] = ()) -> Kernel:
    """The kernel of a spec after these closed bars, oldest first."""
    return Kernel(spec, bars)
