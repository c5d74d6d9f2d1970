"""Ticks to bars of every timeframe."""

from typing import NamedTuple

MINUTE_MS = 60_000
TIMEFRAMES: dict[str, int] = {
    "1min": MINUTE_MS,
    "3min": 3 * MINUTE_MS,
    "5min": 5 * MINUTE_MS,
    "15min": 15 * MINUTE_MS,
    "30min": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
}
"""Timeframe to its length in milliseconds."""


class Bar(NamedTuple):
    """One bar. ``ts`` is its opening time and ``session`` that of the exchange session it belongs to, both ms UTC."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: int = 0
