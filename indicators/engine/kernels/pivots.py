"""Pivot points: levels from the session before."""

from collections.abc import Callable

from indicators.engine.kernels.nodes import NAN
from stocksblitz.market.core.bars import Bar


class Pivots:
    """Levels from the session before. Settled once one session was seen as a whole."""

    def __init__(self, method: str) -> None:
        self._levels = LEVELS[method]
        self._session: int | None = None
        self._whole = self.settled = False
        self._now = self._before = (NAN,) * 4

    def __call__(self, keep: bool, bar: Bar) -> tuple[float, ...]:
        ts, first, top, low, close, _, session = bar
        begins = session != self._session
        before = self._now if begins else self._before
        if not begins:
            first, top, low = self._now[0], max(top, self._now[1]), min(low, self._now[2])
        if keep:
            self._watch(begins, ts == session)
            self._session, self._now, self._before = session, (first, top, low, close), before
        levels: tuple[float, ...] = self._levels(*before, first)
        return levels

    def _watch(self, begins: bool, opening: bool) -> None:
        if begins:
            self.settled = self.settled or self._whole
            self._whole = opening or self._session is not None


def _traditional(_: float, high: float, low: float, close: float, __: float) -> tuple[float, ...]:
    middle = (high + low + close) / 3
    down = (
        2 * middle - high,
        middle - (high - low),
        2 * middle - (2 * high - low),
        3 * middle - (3 * high - low),
    )
    up = 2 * middle - low, middle + (high - low), 2 * middle + high - 2 * low, 3 * middle + high - 3 * low
    return middle, *down, *up


def _scaled(factors: tuple[float, ...], around_close: bool = False) -> Callable[..., tuple[float, ...]]:
    """Return levels at multiples of the session's range from its typical price, or from its close."""

    def levels(_: float, high: float, low: float, close: float, __: float) -> tuple[float, ...]:
        middle = (high + low + close) / 3
        base, span = close if around_close else middle, high - low
        rest = (NAN,) * (4 - len(factors))
        return middle, *(base - f * span for f in factors), *rest, *(base + f * span for f in factors), *rest

    return levels


def _classic(_: float, high: float, low: float, close: float, __: float) -> tuple[float, ...]:
    middle, span = (high + low + close) / 3, high - low
    down = 2 * middle - high, middle - span, middle - 2 * span, middle - 3 * span
    up = 2 * middle - low, middle + span, middle + 2 * span, middle + 3 * span
    return middle, *down, *up


def _woodie(_: float, high: float, low: float, close: float, opened: float) -> tuple[float, ...]:
    middle, span = (high + low + 2 * opened) / 4, high - low
    under, over = low - 2 * (high - middle), high + 2 * (middle - low)
    return (
        middle,
        2 * middle - high,
        middle - span,
        under,
        under - span,
        2 * middle - low,
        middle + span,
        over,
        over + span,
    )


def _demark(opened: float, high: float, low: float, close: float, _: float) -> tuple[float, ...]:
    extra = close if opened == close else high if close > opened else low
    middle = (high + low + close + extra) / 4
    return middle, 2 * middle - high, NAN, NAN, NAN, 2 * middle - low, NAN, NAN, NAN


LEVELS = {
    "traditional": _traditional,
    "fibonacci": _scaled((0.382, 0.618, 1.0)),
    "woodie": _woodie,
    "classic": _classic,
    "demark": _demark,
    "camarilla": _scaled((1.1 / 12, 1.1 / 6, 1.1 / 4, 1.1 / 2), around_close=True),
}
