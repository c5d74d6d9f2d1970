"""One change of one account: its row locked, its balance and revision written with it, announced after the commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from django.db import transaction

from portfolio.margin.size_limits import MOST_MONEY, bounded
from portfolio.margin.types import money
from portfolio.models import Account, LedgerEntry
from portfolio.services.announcements import announce_change
from stocksblitz.api.errors import StocksBlitzError


@dataclass
class Change:
    """The account under change, and the symbols in which its holdings did."""

    account: Account
    symbols: set[str] = field(default_factory=set)
    touched: bool = False

    def book(self, kind: str, amount: Decimal, reference: str, note: str = "") -> Decimal:
        """Add an amount, rounded to the currency's minor unit, to the balance; returns what was booked.

        The reference is unique to the account: the same change cannot be booked a second time.
        """
        booked = money(bounded(amount, MOST_MONEY, "the amount"), self.account.currency)
        self.account.balance = bounded(self.account.balance + booked, MOST_MONEY, "the balance")
        self.touched = True
        LedgerEntry.objects.create(
            account=self.account,
            kind=kind,
            amount=booked,
            balance=self.account.balance,
            reference=reference,
            note=note,
        )
        return booked

    def touch(self, symbol: str) -> None:
        self.symbols.add(symbol)
        self.touched = True


@contextmanager
def changing(key: str) -> Iterator[Change]:
    """Lock the account (on SQLite the transaction itself is the lock) and save what was changed of it.

    StocksBlitzError ``not_found`` when there is no such account.
    """
    with transaction.atomic():
        account = (
            Account.objects.select_for_update(of=("self",)).select_related("group").filter(key=key).first()
        )
        if account is None:
            raise StocksBlitzError("not_found", f"there is no account {key!r}")
        change = Change(account)
        yield change
        if change.touched:
            account.revision += 1
            account.save(update_fields=["balance", "revision", "state"])
            transaction.on_commit(partial(announce_change, account, frozenset(change.symbols)), robust=True)
