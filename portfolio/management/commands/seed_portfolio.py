"""Accounts to look at on the first day: positions on simulated symbols, and one account near its margin call."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from portfolio.margin.types import Quote
from portfolio.models import Account
from portfolio.services import accounts
from portfolio.services.prices import read_quotes
from portfolio.worker import equity_history
from stocksblitz.market.models import Instrument

Row = tuple[str, str, str, str]

ACCOUNTS: dict[str, tuple[dict[str, Any], tuple[Row, ...]]] = {
    # key: (account, ((symbol, side, lots or part of the balance as margin, entry as a part of the price now), …))
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
    # So many bitcoins that 85 % of the balance is margin: less than one percent against it is a margin call.
    "demo:2": ({"currency": "USD", "balance": "2000", "leverage": 20}, (("BTCUSD", "buy", "85 %", "1.0"),)),
    "demo:3": (
        {"currency": "EUR", "balance": "10000", "leverage": 30, "position_mode": "netting"},
        (("USDJPY", "sell", "0.5", "1.001"), ("BTCUSD", "buy", "0.05", "0.97")),
    ),
}


class Command(BaseCommand):
    help = "Make demo accounts of the user demo, with positions at the prices of now; only with DEBUG=1."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("DEBUG=0: demo accounts are for development; make accounts in the admin")
        owner = User.objects.filter(username="demo").first()
        if owner is None:
            raise CommandError("there is no user demo: run seed_demo first")
        for key, (terms, rows) in ACCOUNTS.items():
            if not Account.objects.filter(key=key).exists():
                self._make(key, owner, dict(terms), rows)

    def _make(self, key: str, owner: User, terms: dict[str, Any], rows: tuple[Row, ...]) -> None:
        """Only once there is a price of everything: a position at no price would be one at a wrong one."""
        quotes = read_quotes(row[0] for row in rows)
        missing = {row[0] for row in rows} - quotes.keys()
        if missing:
            self.stdout.write(f"{key} waits for prices of {', '.join(sorted(missing))}")
            return
        balance = Decimal(terms.pop("balance"))
        account = accounts.open_account(key=key, owner=owner, balance=balance, **terms)
        for symbol, side, size, part in rows:
            price = entry(symbol, side, quotes[symbol], part)
            numbers = {"price": price, "quantity": lots(size, account, price)}
            accounts.book_position(key=key, symbol=symbol, side=side, **numbers)
        equity_history.want(key)
        self.stdout.write(f"made {key} with {len(rows)} positions")


def lots(size: str, account: Account, price: Decimal) -> Decimal:
    """Lots as written, or so many that their margin is a part of the balance."""
    if not size.endswith("%"):
        return Decimal(size)
    margin: Decimal = account.balance * Decimal(size[:-1]) / 100
    return (margin * account.leverage / price).quantize(Decimal("0.001"))


def entry(symbol: str, side: str, quote: Quote, part: str) -> Decimal:
    """A price near the quote, on the instrument's grid."""
    tick = Decimal(Instrument.objects.values_list("tick_size", flat=True).get(symbol=symbol))
    price = (quote.ask if side == "buy" else quote.bid) * Decimal(part)
    return (price / tick).to_integral_value() * tick
