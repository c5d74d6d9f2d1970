"""Demo accounts for development: positions on simulated symbols, and one account near its margin call."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from portfolio.margin.types import Quote
from portfolio.models import Account
from portfolio.services import accounts
from portfolio.services.prices import read_quotes
from stocksblitz.market.models import Instrument

Row = tuple[str, str, str, str]

ACCOUNTS: dict[str, tuple[dict[str, Any], tuple[Row, ...]]] = {
    # key: (account, ((symbol, side, lots or share of the balance as margin, entry price / price now), …))
    "demo:1": (
        {"currency": "USD", "balance": "25000", "leverage": 100},
        (
            ("EURUSD", "buy", "1", "0.9985"),
            ("BTCUSD", "buy", "0.35", "0.985"),
            ("AAPL", "buy", "20", "0.99"),
            ("GBPUSD", "sell", "0.4", "1.002"),
            ("ETHUSD", "sell", "2", "1.01"),
        ),
    ),
    # 85 % of the balance is margin: a move of less than one percent against the position is a margin call.
    "demo:2": ({"currency": "USD", "balance": "2000", "leverage": 20}, (("BTCUSD", "buy", "85 %", "1.0"),)),
    "demo:3": (
        {"currency": "EUR", "balance": "10000", "leverage": 30, "position_mode": "netting"},
        (("USDJPY", "sell", "0.5", "1.001"), ("BTCUSD", "buy", "0.05", "0.97")),
    ),
}


def missing_accounts() -> list[str]:
    """Return the keys of the demo accounts that do not exist yet."""
    existing = set(Account.objects.filter(key__in=ACCOUNTS).values_list("key", flat=True))
    return [key for key in ACCOUNTS if key not in existing]


def create_demo_accounts(owner: User) -> Iterator[tuple[str, list[str]]]:
    """Create the demo accounts that do not exist yet.

    Yields each key with the symbols that have no price: such an account was not created, because a position
    without a price would be booked at a wrong one.
    """
    for key in missing_accounts():
        terms, rows = ACCOUNTS[key]
        quotes = read_quotes(row[0] for row in rows)
        missing = sorted({row[0] for row in rows} - quotes.keys())
        if not missing:
            _create(key, owner, dict(terms), rows, quotes)
        yield key, missing


def _create(
    key: str, owner: User, terms: dict[str, Any], rows: tuple[Row, ...], quotes: dict[str, Quote]
) -> None:
    balance = Decimal(terms.pop("balance"))
    account = accounts.open_account(key=key, owner=owner, balance=balance, **terms)
    for symbol, side, size, price_ratio in rows:
        price = _entry_price(symbol, side, quotes[symbol], price_ratio)
        quantity = _quantity(size, account, price)
        accounts.book_position(key=key, symbol=symbol, side=side, price=price, quantity=quantity)


def _quantity(size: str, account: Account, price: Decimal) -> Decimal:
    """Return the lots as written, or as many as have this share of the balance as their margin."""
    if not size.endswith("%"):
        return Decimal(size)
    margin: Decimal = account.balance * Decimal(size[:-1]) / 100
    return (margin * account.leverage / price).quantize(Decimal("0.001"))


def _entry_price(symbol: str, side: str, quote: Quote, price_ratio: str) -> Decimal:
    """Return a price near the quote, rounded to the instrument's tick size."""
    tick = Decimal(Instrument.objects.values_list("tick_size", flat=True).get(symbol=symbol))
    price = (quote.ask if side == "buy" else quote.bid) * Decimal(price_ratio)
    return (price / tick).to_integral_value() * tick
