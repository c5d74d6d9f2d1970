"""How large what is booked may be, so that every figure of an account fits the columns of the database (pure)."""

from decimal import Decimal

from portfolio.margin.types import Holding, MarketPrices
from stocksblitz.api.errors import StocksBlitzError

MOST_LOTS = Decimal("1e11")
MOST_VALUE = Decimal("1e13")
"""Of one position in its instrument's currency, at its own price and at the market's."""
MOST_MONEY = Decimal("1e15")
"""Of a margin or a balance, in the account's currency."""


def bounded(amount: Decimal, most: Decimal, what: str) -> Decimal:
    """The amount; StocksBlitzError ``limit_exceeded`` where it is larger, either way."""
    if abs(amount) > most:
        raise StocksBlitzError(
            "limit_exceeded", f"{what}: expected at most {most:f}, this would make {amount:.6g}"
        )
    return amount


def check_size(holding: Holding, market: MarketPrices) -> None:
    """Refuse a holding whose value no account could book."""
    bounded(holding.quantity, MOST_LOTS, "lots")
    quote = market.quotes.get(holding.terms.symbol)
    price = max(holding.price, quote.ask if quote else holding.price)
    bounded(holding.quantity * holding.terms.contract_size * price, MOST_VALUE, "the position's value")
