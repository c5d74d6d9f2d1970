"""Accounts as the formulas take them, from the database."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

from portfolio.margin import types as margin_types
from portfolio.margin.types import BUY, SELL, Holding, Rules, Terms
from portfolio.models import Account, Order, Position, effective_levels
from portfolio.services.prices import terms_of
from stocksblitz.market.models import Instrument

_SIDES = {"buy": BUY, "sell": SELL}
CHUNK = 500
"""Accounts asked for in one query: SQLite bounds the parameters of a statement."""


def side_of(text: str) -> int:
    return _SIDES[text]


def rules_of(account: Account) -> Rules:
    """Return the account's own rules, else its group's, else the server's."""
    group = account.group
    levels = effective_levels(account, group)
    return Rules(
        currency=account.currency,
        leverage=Decimal(account.leverage),
        netting=account.position_mode == Account.PositionMode.NETTING,
        mid=account.marking == Account.Marking.MID,
        floating=account.margin_policy == Account.MarginPolicy.FLOATING,
        margin_call=levels.margin_call,
        stop_out=levels.stop_out,
        in_money=levels.in_money,
        tiers=tuple((Decimal(lots), Decimal(factor)) for lots, factor in (group.tiers if group else ())),
    )


def check_tiers(tiers: Any) -> list[list[str]]:
    """Tiers as they are kept: pairs of positive decimals; ValidationError says what is wrong."""
    try:
        rows = [(Decimal(str(lots)), Decimal(str(factor))) for lots, factor in tiers or []]
    except (TypeError, ValueError, ArithmeticError):
        raise ValidationError(
            'expected pairs of lots and factor such as [["10", "1"], ["10", "2"]]'
        ) from None
    if not all(number.is_finite() and number > 0 for row in rows for number in row):
        raise ValidationError("lots and factors are more than 0")
    return [[str(lots), str(factor)] for lots, factor in rows]


class Catalogue:
    """The terms of instruments, each read once."""

    def __init__(self) -> None:
        self._terms: dict[int, Terms] = {}

    def __getitem__(self, instrument_id: int) -> Terms:
        if instrument_id not in self._terms:
            self._terms[instrument_id] = terms_of(Instrument.objects.get(pk=instrument_id))
        return self._terms[instrument_id]


_FIELDS = ("account_id", "id", "instrument_id", "side", "quantity", "price", "margin")


def load(
    accounts: Iterable[Account], catalogue: Catalogue | None = None
) -> dict[str, margin_types.MarginAccount]:
    """What these accounts hold now: open positions and pending orders, the older first."""
    catalogue, rows = catalogue or Catalogue(), list(accounts)
    positions: dict[int, list[Holding]] = defaultdict(list)
    orders: dict[int, list[Holding]] = defaultdict(list)
    for start in range(0, len(rows), CHUNK):
        ids = [account.pk for account in rows[start : start + CHUNK]]
        held = Position.objects.filter(account_id__in=ids, status=Position.Status.OPEN).order_by("id")
        for account_id, *row in held.values_list(*_FIELDS):
            positions[account_id].append(_holding(catalogue, *row))
        waiting = Order.objects.filter(account_id__in=ids, status=Order.Status.PENDING).order_by("id")
        for account_id, *row in waiting.values_list(*_FIELDS, "type"):
            orders[account_id].append(_holding(catalogue, *row))
    return {
        a.key: margin_types.MarginAccount(rules_of(a), a.balance, positions[a.pk], orders[a.pk]) for a in rows
    }


def _holding(
    catalogue: Catalogue, pk: int, instrument: int, side: str, quantity: Decimal, price: Decimal, *rest: Any
) -> Holding:
    return Holding(pk, catalogue[instrument], _SIDES[side], quantity, price, *rest)


def load_one(account: Account) -> margin_types.MarginAccount:
    return load([account])[account.key]


def symbols_of(account: margin_types.MarginAccount) -> set[str]:
    return {holding.terms.symbol for holding in (*account.positions, *account.orders)}
