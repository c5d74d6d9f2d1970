"""The active symbols, cached for a few seconds; unknown symbols are looked up each time."""

import time
from collections.abc import Iterable

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.models import Instrument

CACHED_S = 5.0
_known: dict[str, float] = {}


def known(symbols: Iterable[str]) -> set[str]:
    """Return the symbols that are active instruments."""
    now = time.monotonic()
    asked = set(symbols)
    unsure = {symbol for symbol in asked if _known.get(symbol, 0.0) < now}
    if unsure:
        found = set(
            Instrument.objects.filter(symbol__in=unsure, active=True).values_list("symbol", flat=True)
        )
        for symbol in unsure - found:
            _known.pop(symbol, None)
        _known.update(dict.fromkeys(found, now + CACHED_S))
        asked -= unsure - found
    return asked


def unknown_symbol(symbol: str) -> StocksBlitzError:
    return StocksBlitzError(
        "unknown_symbol", f"{symbol[:40]!r} is no instrument here: GET /api/market/symbols lists them"
    )


def check_symbol(symbol: str) -> str:
    """Return the symbol; StocksBlitzError ``unknown_symbol`` for any other text, before it reaches the database."""

    if not is_symbol(symbol) or not known([symbol]):
        raise unknown_symbol(symbol)
    return symbol
