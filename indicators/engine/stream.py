"""Bars in, values out: all indicators of one (symbol, timeframe), each computed once.

Nothing that a bar may hold raises out of here: a bar without finite prices has no values and leaves every
kernel as it was, and a kernel that fails is named in `Stream.broken` while the others go on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from indicators.engine.catalogue import KEPT_BARS
from indicators.engine.kernels import Kernel, Value, open_kernel
from indicators.engine.spec import Spec
from stocksblitz.market.core.bars import Bar

LARGEST = 1e15
"""Upper bound of a price: squares and products of smaller numbers stay finite."""

type Values = dict[str, tuple[Value, bool]]
"""Canonical id -> value and whether it is ready; the value is None until it is."""


def clean(bar: Bar) -> Bar | None:
    """Return the bar with a usable volume (0 where it has none), or None when its prices cannot be used."""
    try:
        _, first, high, low, close, volume, _ = bar
        if not (
            -LARGEST < first < LARGEST
            and -LARGEST < high < LARGEST
            and -LARGEST < low < LARGEST
            and -LARGEST < close < LARGEST
        ):
            return None
        if volume.__class__ is float and 0 <= volume < LARGEST:
            return bar
        volume = float(volume) if volume is not None else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    return bar._replace(volume=volume if 0 <= volume < LARGEST else 0.0)


class Stream:
    """All kernels of one (symbol, timeframe). Bars come in order, oldest first.

    ``last_ts``: opening time of the last closed bar, 0 before the first.
    ``broken``: canonical id -> what went wrong, for kernels that failed; their value is None until they
    are set again.
    """

    def __init__(self, bars: Sequence[Bar] = ()) -> None:
        self.broken: dict[str, str] = {}
        self.last_ts = bars[-1].ts if bars else 0
        self._bars: deque[Bar] = deque(filter(None, map(clean, bars)))
        self._kernels: dict[str, Kernel] = {}
        self._keep = 0

    @property
    def specs(self) -> list[Spec]:
        """Return the indicators that are computed."""
        return [kernel.spec for kernel in self._kernels.values()]

    @property
    def bars(self) -> list[Bar]:
        """Return the closed bars held: as many as the kernels need, so that more can be opened."""
        return list(self._bars)

    def set_indicators(self, specs: Iterable[Spec], bars: Sequence[Bar] | None = None) -> None:
        """Compute exactly these indicators from now on.

        New ones are opened from the bars held, or from ``bars`` (up to `last_ts`), then held instead.
        """
        wanted = {spec.id: spec for spec in specs}
        if bars is not None:
            usable = filter(None, map(clean, bars))
            self._bars = deque(bar for bar in usable if bar.ts <= self.last_ts or not self._kernels)
            self.last_ts = max(self.last_ts, bars[-1].ts if bars and not self._kernels else 0)
        for id in (self._kernels | self.broken).keys() - wanted.keys():
            self._kernels.pop(id, None)
            self.broken.pop(id, None)
        for id, spec in wanted.items():
            if id not in self._kernels and id not in self.broken:
                self._open(spec)
        self._keep = max((spec.history for spec in wanted.values()), default=0)
        self._trim()

    def update(self, bar: Bar) -> Values:
        """Take in a closed bar and return the values; a bar at or before `last_ts` changes nothing and gives none."""
        if bar.ts <= self.last_ts:
            return {}
        self.last_ts = bar.ts
        usable = clean(bar)
        if usable is None:
            return self._nothing()
        self._bars.append(usable)
        self._trim()
        return self._values(usable, Kernel.update)

    def peek(self, bar: Bar) -> Values:
        """Return the values with this forming bar; nothing is changed."""
        usable = clean(bar)
        return self._nothing() if usable is None else self._values(usable, Kernel.peek)

    def last_values(self) -> Values:
        """Return the values at the last closed bar, as its `update` gave them or would have given them."""
        return self._nothing() | {id: kernel.last() for id, kernel in self._kernels.items()}

    def _values(self, bar: Bar, ask: Callable[[Kernel, Bar], Value]) -> Values:
        found: Values = {}
        failed: dict[str, str] = {}
        for id, kernel in self._kernels.items():
            try:
                # asked before the bar is taken in, so that peek and update say the same
                ready = kernel.ready
                value = ask(kernel, bar)
                found[id] = (value, True) if ready else (None, False)
            except Exception as error:  # whatever it is: one indicator never stops the others
                failed[id] = repr(error)
        if failed or self.broken:
            self._break(failed, found)
        return found

    def _break(self, failed: dict[str, str], found: Values) -> None:
        self.broken |= failed
        for id in self.broken:
            self._kernels.pop(id, None)
            found[id] = (None, False)

    def _nothing(self) -> Values:
        return dict.fromkeys([*self._kernels, *self.broken], (None, False))

    def _open(self, spec: Spec) -> None:
        try:
            bars = islice(self._bars, max(0, len(self._bars) - spec.history), None)
            self._kernels[spec.id] = open_kernel(spec, bars)
        except Exception as error:
            self.broken[spec.id] = repr(error)

    def _trim(self) -> None:
        most = self._keep or KEPT_BARS
        while len(self._bars) > most:
            self._bars.popleft()


def series(spec: Spec, bars: Sequence[Bar], limit: int) -> list[Value]:
    """Return the values of the last ``limit`` bars, oldest first, each None until ready or where it is undefined.

    Give bars before these, as many as `Spec.history` tells, where every value is to be ready.
    """
    stream = Stream()
    stream.set_indicators([spec])
    values = [stream.update(bar).get(spec.id, (None, False))[0] for bar in bars]
    return values[len(values) - min(limit, len(values)) :]
