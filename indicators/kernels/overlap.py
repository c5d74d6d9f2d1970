"""Kernels of the overlap family."""

from indicators.catalogue.entry import rma
from indicators.kernels.nodes import NAN, Step, Ta
from stocksblitz.market.bars import Bar


def sma(length: int) -> Step:
    line = Ta("SMA", timeperiod=length)
    return lambda keep, bar: line(keep, bar.close)


def ema(length: int) -> Step:
    line = Ta("EMA", timeperiod=length)
    return lambda keep, bar: line(keep, bar.close)


class Supertrend:
    """Settled once it has turned both ways after its ATR has forgotten its start.

    A turn proves that this band was crossed with every longer history, too, since a longer one could only
    make it tighter; a band that was crossed begins anew, so that nothing of the start is left in it.
    """

    def __init__(self, length: int, multiplier: float) -> None:
        self._line = Ta("SUPERTREND", timeperiod=length, multiplier=multiplier)
        self._unsure = rma(length)
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


KERNELS = {"SMA": sma, "EMA": ema, "SUPERTREND": Supertrend}
