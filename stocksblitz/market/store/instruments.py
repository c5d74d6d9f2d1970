"""Which symbols there are, remembered for a few seconds; what is not known is looked up each time."""

import time
from collections.abc import Iterable

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.models import Instrument

REMEMBERED_S = 5.0
_known: dict[str, float] = {}


def known(symbols: Iterable[str]) -> set[str]:
    """Those of the symbols that are active instruments."""
    now = time.monotonic()
    asked = set(symbols)
    unsure = {each for each in asked if _known.get(each, 0.0) < now}
    if unsure:
        found = set(
            Instrument.objects.filter(symbol__in=unsure, active=True).values_list("symbol", flat=True)
        )
        for each in unsure - found:
            _known.pop(each, None)
        _known.update(dict.fromkeys(found, now + REMEMBERED_S))
        asked -= unsure - found
    return asked


def unknown_symbol(symbol: str) -> StocksBlitzError:
    return StocksBlitzError(
        "unknown_symbol", f"{symbol[:40]!r} is no instrument here: GET /api/market/symbols lists them"
    )


def check_symbol(symbol: str) -> str:
    """The symbol, if it is one; StocksBlitzError ``unknown_symbol`` if not (a hostile one never gets to the database)."""

    if not is_symbol(symbol) or not known([symbol]):
        raise unknown_symbol(symbol)
    return symbol
