"""The instruments that a feed needs: missing ones are created, existing ones are left as they are."""

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
    """Return the fields of an instrument of which only the name is known: enough to show it and to trade it on paper."""
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
    """Create the instruments that do not exist yet."""
    Instrument.objects.bulk_create([Instrument(**row) for row in rows], ignore_conflicts=True)


@sync_to_async
def active_exchanges() -> dict[str, str]:
    """Return symbol to exchange of every active instrument."""
    return dict(Instrument.objects.filter(active=True).values_list("symbol", "exchange"))


@sync_to_async
def ensure_contracts(terms: dict[str, Any], listed: Sequence[Contract], now: int) -> list[Contract]:
    """Create missing contracts and deactivate expired ones; return all contracts that have not expired."""
    underlying = Instrument.objects.get(symbol=terms.pop("underlying"))
    now_utc = datetime.fromtimestamp(now / 1000, UTC)
    Instrument.objects.bulk_create(
        [Instrument(symbol=contract.symbol, kind=Instrument.Kind.OPTION, **terms) for contract in listed],
        ignore_conflicts=True,
    )
    ids = dict(Instrument.objects.filter(symbol__in=[c.symbol for c in listed]).values_list("symbol", "pk"))
    rows = [
        OptionContract(
            instrument_id=ids[contract.symbol],
            underlying=underlying,
            expiry=datetime.fromtimestamp(contract.expiry / 1000, UTC),
            strike=str(contract.strike),
            right=contract.right,
        )
        for contract in listed
    ]
    OptionContract.objects.bulk_create(rows, ignore_conflicts=True)
    Instrument.objects.filter(contract__underlying=underlying, contract__expiry__lte=now_utc).update(
        active=False
    )
    return [contract for _, contract in _contracts(underlying.options.filter(expiry__gt=now_utc))]


@sync_to_async
def active_contracts(now: int) -> list[tuple[str, Contract]]:
    """Return underlying and contract of every option that has not expired."""
    now_utc = datetime.fromtimestamp(now / 1000, UTC)
    return _contracts(OptionContract.objects.filter(expiry__gt=now_utc, instrument__active=True))


def _contracts(found: Any) -> list[tuple[str, Contract]]:
    rows = found.values_list("underlying__symbol", "instrument__symbol", "expiry", "strike", "right")
    return [
        (underlying, Contract(symbol, round(expiry.timestamp() * 1000), float(strike), right))
        for underlying, symbol, expiry, strike, right in rows
    ]
