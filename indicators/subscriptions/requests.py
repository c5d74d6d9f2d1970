"""What clients ask for, checked: REST and sockets share these functions, and so their limits and their errors."""

from typing import Any

from django.conf import settings

from indicators.engine.spec import Spec, parse_request
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.store.instruments import unknown_symbol

MOST_ENTRIES = 1_024
"""Subscriptions that one heartbeat may name."""

type Entry = tuple[str, str, str]
"""Symbol, timeframe and the indicator's id (empty: the bars alone)."""


def _refuse(name: str, expected: str, given: Any) -> StocksBlitzError:
    return StocksBlitzError("invalid_message", f"{name}: expected {expected}, got {str(given)[:40]!r}")


def read_text(name: str, value: Any) -> str:
    """Return text that is not empty."""
    if not isinstance(value, str) or not value:
        raise _refuse(name, "text", value)
    return value


def read_symbol(value: Any) -> str:
    """Return what could be a symbol: a colon or a line break never gets into a key."""
    symbol = read_text("symbol", value)
    if not is_symbol(symbol):
        raise unknown_symbol(symbol)
    return symbol


def read_timeframe(value: Any) -> str:
    """Return a known timeframe."""
    if not isinstance(value, str) or value not in TIMEFRAMES:
        known = ", ".join(TIMEFRAMES)
        raise StocksBlitzError(
            "unknown_timeframe", f"timeframe: expected one of {known}, got {str(value)[:40]!r}"
        )
    return value


def read_indicators(value: Any) -> dict[str, Spec]:
    """Return the indicators of a request in any of its three forms; too many are refused before they are read."""
    if value is not None and not isinstance(value, dict | list):
        raise _refuse("indicators", "an array or an object", value)
    most = settings.WS_MAX_INDICATORS
    if value and len(value) > most:
        raise StocksBlitzError(
            "limit_exceeded", f"indicators: expected at most {most}, got {len(value)}; ask for fewer"
        )
    return parse_request(value)


def read_ids(value: Any) -> list[str] | None:
    """Return the ids that an unsubscribe names; None for all."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(indicator, str) for indicator in value):
        raise _refuse("indicators", "an array of ids", value)
    return value


def read_entries(value: Any, indicator: str) -> list[Entry]:
    """Return the subscriptions that a heartbeat names; ``indicator`` is the name of the field with the id."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_ENTRIES:
        raise _refuse("subscriptions", f"an array of at most {MOST_ENTRIES}", value)
    return [_read_entry(entry, indicator) for entry in value]


def _read_entry(entry: Any, indicator: str) -> Entry:
    names = ("symbol", "timeframe", indicator)
    if not isinstance(entry, dict):
        raise _refuse("subscriptions", f"objects with {', '.join(names)}", entry)
    if unknown := sorted(str(name)[:40] for name in entry.keys() - set(names)):
        raise _refuse("subscriptions", f"only {', '.join(names)}", unknown[0])
    for name in names:
        if not isinstance(entry.get(name), str):
            raise _refuse(f"subscriptions: {name}", "text", entry.get(name))
    return entry["symbol"], entry["timeframe"], entry[indicator]
