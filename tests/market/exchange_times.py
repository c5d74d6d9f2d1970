"""Bars and opening hours as the calendars of the exchanges give them."""

from stocksblitz.market.calendars.sessions import session_at
from stocksblitz.market.core.bars import TIMEFRAMES, ending, opening


def bar_open(exchange: str, timeframe: str, ts: int) -> int:
    """Return when the bar begins that a time belongs to."""
    return opening(session_at(exchange, ts), TIMEFRAMES[timeframe], ts)


def bar_end(exchange: str, timeframe: str, ts: int) -> int:
    """Return when the bar ends that a time belongs to."""
    session, length = session_at(exchange, ts), TIMEFRAMES[timeframe]
    return ending(session, length, opening(session, length, ts))


def is_open(exchange: str, ts: int) -> bool:
    """Return whether the exchange trades at that time."""
    session = session_at(exchange, ts)
    return session.open <= ts < session.close
