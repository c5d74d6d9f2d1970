"""What requests bring, checked by hand where a serializer would say too little: one clear error, nothing done."""

from collections.abc import Mapping
from typing import Any

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.store.instruments import unknown_symbol


def known_fields(given: object, *names: str) -> dict[str, Any]:
    """The object, if it is one and has no other fields."""
    if not isinstance(given, Mapping):
        raise StocksBlitzError(
            "invalid_message", f"expected a JSON object with {', '.join(names) or 'no fields'}"
        )
    unknown = sorted(str(name)[:40] for name in set(given) - set(names))
    if unknown:
        expected = ", ".join(names) or "none"
        raise StocksBlitzError("invalid_message", f"unknown: {', '.join(unknown[:5])}; expected {expected}")
    return dict(given)


def text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise StocksBlitzError("invalid_message", f"{name}: expected text, got {str(value)[:40]!r}")
    return value


def well_formed(symbol: object) -> str:
    """The symbol, if it could be one: a colon or a line break never gets into a key."""
    if not isinstance(symbol, str) or not is_symbol(symbol):
        raise unknown_symbol(str(symbol))
    return symbol


def timeframe(value: object) -> str:
    if not isinstance(value, str) or value not in TIMEFRAMES:
        known = ", ".join(TIMEFRAMES)
        raise StocksBlitzError(
            "unknown_timeframe", f"timeframe: expected one of {known}, got {str(value)[:40]!r}"
        )
    return value
