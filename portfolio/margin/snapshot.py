"""An account as clients see it: the fields of a snapshot, from the oracle (pure). The engine writes the
same in bulk.
"""

from decimal import Decimal
from typing import Any

from portfolio.margin import levels
from portfolio.margin.explanation import SIDE_NAMES, numbers, plain, shown
from portfolio.margin.margin import Valuation
from portfolio.margin.types import MarginAccount, MarketPrices


def _distances(
    name: str, level: Decimal, account: MarginAccount, valuation: Valuation, market: MarketPrices
) -> dict[str, Any]:
    """How far a level is: in money of the account, and as a price where one symbol decides."""
    at = levels.equity_at(level, valuation, account.rules)
    away = None if at is None or valuation.equity is None else valuation.equity - at
    price = levels.price_at(level, account, valuation, market)
    return {
        f"{name}_level": plain(level),
        f"{name}_distance": shown(away, account.rules.currency),
        f"{name}_price": None if price is None else f"{float(price):.10g}",
    }


def snapshot(
    key: str, account: MarginAccount, valuation: Valuation, market: MarketPrices, **stamp: Any
) -> dict[str, Any]:
    """``stamp``: version, epoch, ts (ms) and the source of the prices. Money in decimal strings, null where a
    price is missing.
    """
    rules = account.rules
    return {
        "account": key,
        **stamp,
        "currency": rules.currency,
        **numbers(valuation, rules),
        "state": levels.state(valuation, rules),
        "stale": valuation.stale,
        "missing": list(valuation.missing),
        "oldest_price_ts": valuation.oldest_ts or None,
        **_distances("margin_call", rules.margin_call, account, valuation, market),
        **_distances("stop_out", rules.stop_out, account, valuation, market),
        "positions": [
            {
                "id": h.id,
                "symbol": h.terms.symbol,
                "side": SIDE_NAMES[h.side],
                "quantity": plain(h.quantity),
                "price": plain(h.price),
                "unrealized_pnl": shown(valuation.profits[h.id], rules.currency),
            }
            for h in account.positions
        ],
    }
