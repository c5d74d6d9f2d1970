"""The instruments a feed needs: made when they are not there, and left as they are when they are."""

import re
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async

from stocksblitz.errors import StocksBlitzError
from stocksblitz.market.models import RESERVED_SYMBOLS, SYMBOL_PATTERN, Instrument

_PAIR = re.compile(r"[A-Z]{6}")


def check_symbol(symbol: str) -> None:
    """Raise StocksBlitzError for what cannot be a symbol."""
    if not re.fullmatch(SYMBOL_PATTERN, symbol) or symbol in RESERVED_SYMBOLS:
        raise StocksBlitzError(
            "invalid_parameter",
            f"a symbol is 1 to 32 of A-Z 0-9 & . _ - and begins with a letter or digit, not {symbol!r}",
        )


def terms_of(symbol: str, exchange: str, decimals: int) -> dict[str, Any]:
    """What can be said of an instrument that is only known by name: enough to show it, and to trade it on paper."""
    kind = {"24x7": "crypto", "24x5": "forex"}.get(exchange, "equity")
    pair = kind != "equity" and _PAIR.fullmatch(symbol)
    return {
        "symbol": symbol,
        "exchange": exchange,
        "kind": kind,
        "base_currency": symbol[:3] if pair else "",
        "currency": symbol[3:] if pair else "USD",
        "tick_size": f"{10**-decimals:.10f}",
        "contract_size": 100_000 if kind == "forex" else 1,
        "margin_mode": {"forex": "forex", "crypto": "cfd_leverage"}.get(kind, "stock"),
    }


@sync_to_async
def ensure_instruments(rows: Sequence[dict[str, Any]]) -> None:
    """Make those of the instruments that do not exist."""
    Instrument.objects.bulk_create([Instrument(**row) for row in rows], ignore_conflicts=True)


@sync_to_async
def active_exchanges() -> dict[str, str]:
    """Symbol to exchange of every instrument that is in use."""
    return dict(Instrument.objects.filter(active=True).values_list("symbol", "exchange"))
