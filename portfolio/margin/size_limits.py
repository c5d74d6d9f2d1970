"""Bounds and steps of what is booked: every figure of an account must fit the columns of the database (pure)."""

from decimal import ROUND_HALF_UP, Decimal

from portfolio.margin.explanation import plain
from portfolio.margin.types import Holding, MarketPrices
from stocksblitz.api.errors import StocksBlitzError

MOST_LOTS = Decimal("1e11")
MOST_VALUE = Decimal("1e13")
"""Of one position in its instrument's currency, at its own price and at the market's."""
MOST_MONEY = Decimal("1e15")
"""Of a margin or a balance, in the account's currency."""


def bounded(amount: Decimal, most: Decimal, what: str) -> Decimal:
    """Return the amount; StocksBlitzError ``limit_exceeded`` where it is larger, either way."""
    if abs(amount) > most:
        raise StocksBlitzError(
            "limit_exceeded", f"{what}: expected at most {most:f}, this would make {amount:.6g}"
        )
    return amount


def check_step(value: Decimal, step: Decimal, field: str, step_name: str) -> None:
    """Refuse a quantity or price that is no multiple of its step; the error names the nearest that is."""
    if value % step:
        nearest = max(step, (value / step).to_integral_value(ROUND_HALF_UP) * step)
        raise StocksBlitzError(
            "invalid_parameter",
            f"{field}: expected a multiple of the {step_name} {plain(step)}, got {plain(value)}: "
            f"the nearest valid value is {plain(nearest)}",
        )


def check_size(holding: Holding, market: MarketPrices) -> None:
    """Refuse a holding whose value no account could book."""
    bounded(holding.quantity, MOST_LOTS, "lots")
    quote = market.quotes.get(holding.terms.symbol)
    price = max(holding.price, quote.ask if quote else holding.price)
    bounded(holding.quantity * holding.terms.contract_size * price, MOST_VALUE, "the position's value")
