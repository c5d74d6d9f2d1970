"""The instruments a feed needs: made when they are not there, and left as they are when they are."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.options import Contract
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.models import Instrument, OptionContract

_PAIR = re.compile(r"[A-Z]{6}")


def check_symbol(symbol: str) -> None:
    """Raise StocksBlitzError for what cannot be a symbol."""
    if not is_symbol(symbol):
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
        "lot_size": {"forex": "0.01", "crypto": "0.00001"}.get(kind, "1"),
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


@sync_to_async
def ensure_contracts(terms: dict[str, Any], listed: Sequence[Contract], now: int) -> list[Contract]:
    """Make the contracts that are not there, retire those that expired; returns all that live."""
    underlying = Instrument.objects.get(symbol=terms.pop("underlying"))
    moment = datetime.fromtimestamp(now / 1000, UTC)
    Instrument.objects.bulk_create(
        [Instrument(symbol=each.symbol, kind=Instrument.Kind.OPTION, **terms) for each in listed],
        ignore_conflicts=True,
    )
    ids = dict(Instrument.objects.filter(symbol__in=[c.symbol for c in listed]).values_list("symbol", "pk"))
    rows = [
        OptionContract(
            instrument_id=ids[each.symbol],
            underlying=underlying,
            expiry=datetime.fromtimestamp(each.expiry / 1000, UTC),
            strike=str(each.strike),
            right=each.right,
        )
        for each in listed
    ]
    OptionContract.objects.bulk_create(rows, ignore_conflicts=True)
    Instrument.objects.filter(contract__underlying=underlying, contract__expiry__lte=moment).update(
        active=False
    )
    return [contract for _, contract in _contracts(underlying.options.filter(expiry__gt=moment))]


@sync_to_async
def active_contracts(now: int) -> list[tuple[str, Contract]]:
    """Underlying and contract of every option that lives."""
    moment = datetime.fromtimestamp(now / 1000, UTC)
    return _contracts(OptionContract.objects.filter(expiry__gt=moment, instrument__active=True))


def _contracts(found: Any) -> list[tuple[str, Contract]]:
    rows = found.values_list("underlying__symbol", "instrument__symbol", "expiry", "strike", "right")
    return [
        (underlying, Contract(symbol, round(expiry.timestamp() * 1000), float(strike), right))
        for underlying, symbol, expiry, strike, right in rows
    ]
