"""Kernels of the volume family."""

from indicators.kernels.nodes import ratio
from stocksblitz.market.bars import Bar


class Vwap:
    """Settled once a session was seen from its first bar; bars that name no session (0) are all of one."""

    def __init__(self) -> None:
        self._session: int | None = None
        self._value = self._volume = 0.0
        self.settled = False

    def __call__(self, keep: bool, bar: Bar) -> float:
        ts, _, high, low, close, volume, session = bar
        same = session == self._session
        total = volume + self._volume if same else volume
        value = (high + low + close) / 3 * volume + (self._value if same else 0.0)
        if keep:
            if not same:
                self.settled = self.settled or self._session is not None or session in (0, ts)
            self._session, self._value, self._volume = session, value, total
        return ratio(value, total)


KERNELS = {"VWAP": Vwap}
