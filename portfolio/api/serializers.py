"""What the routes take and give. Decimals are strings without an exponent; money has its currency's digits."""

import re
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from portfolio.margin.explanation import plain, shown
from portfolio.models import (
    Account,
    AccountGroup,
    Fill,
    LedgerEntry,
    LevelsIn,
    MarginEvent,
    Order,
    Position,
    Side,
)
from portfolio.services.loader import rules_of
from stocksblitz.identity.views import Strict
from stocksblitz.market.models import validate_currency

_Base = serializers.Serializer[Any]


class Amount(serializers.DecimalField):
    """A decimal as JSON writes it, as a number or in a string: no underscores, blanks or digits of other scripts."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and not _DECIMAL.fullmatch(data):
            self.fail("invalid")
        return super().to_internal_value(data)


_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _amount(digits: int, places: int, **options: Any) -> serializers.DecimalField:
    return Amount(max_digits=digits, decimal_places=places, **options)


def _quantity(**options: Any) -> serializers.DecimalField:
    return _amount(20, 8, min_value=Decimal("1e-8"), **options)


def _price(**options: Any) -> serializers.DecimalField:
    return _amount(24, 10, min_value=Decimal("1e-10"), **options)


def _level() -> serializers.DecimalField:
    return _amount(16, 4, min_value=Decimal(0), required=False, allow_null=True)


class _Terms(Strict):
    """What may be changed of an account later."""

    leverage = serializers.IntegerField(min_value=1, max_value=5000, required=False)
    marking = serializers.ChoiceField(Account.Marking.choices, required=False)
    margin_policy = serializers.ChoiceField(Account.MarginPolicy.choices, required=False)
    margin_call_level = _level()
    stop_out_level = _level()
    levels_in = serializers.ChoiceField(LevelsIn.choices, required=False)
    group = serializers.SlugRelatedField(
        slug_field="name", queryset=AccountGroup.objects.all(), required=False, allow_null=True
    )


class AccountPatch(_Terms):
    pass


class AccountRequest(_Terms):
    key = serializers.CharField(max_length=49, trim_whitespace=False)
    owner = serializers.CharField(max_length=150, trim_whitespace=False)
    currency = serializers.CharField(max_length=8, trim_whitespace=False, validators=[validate_currency])
    balance = _amount(20, 8, min_value=Decimal(0), default=Decimal(0))
    position_mode = serializers.ChoiceField(Account.PositionMode.choices, required=False)


class PositionRequest(Strict):
    account = serializers.CharField(max_length=49, trim_whitespace=False)
    symbol = serializers.CharField(max_length=32, trim_whitespace=False)
    side = serializers.ChoiceField(Side.choices)
    quantity = _quantity()
    price = _price()


class CloseRequest(Strict):
    quantity = _quantity(required=False)


class OrderRequest(Strict):
    account = serializers.CharField(max_length=49, trim_whitespace=False)
    symbol = serializers.CharField(max_length=32, trim_whitespace=False)
    side = serializers.ChoiceField(Side.choices)
    quantity = _quantity()
    type = serializers.ChoiceField(Order.Type.choices)
    price = _price(required=False)


class DepositRequest(Strict):
    amount = _amount(20, 8)
    reference = serializers.RegexField(r"\A[\x21-\x7e]{1,64}\Z")
    note = serializers.CharField(max_length=200, required=False, allow_blank=True)
    allow_negative_balance = serializers.BooleanField(
        default=False, help_text="Take out more than the account has"
    )


class WhatIfRequest(Strict):
    shocks = serializers.DictField(
        child=_amount(8, 6, min_value=Decimal("-0.99"), max_value=Decimal(10)),
        help_text='Share by which a price moves: {"EURUSD": "-0.02"}; "*" moves all others',
    )


class AccountReply(_Base):
    key = serializers.CharField()
    owner = serializers.CharField()
    user_type = serializers.CharField()
    currency = serializers.CharField()
    balance = serializers.CharField()
    leverage = serializers.IntegerField()
    position_mode = serializers.CharField()
    marking = serializers.CharField()
    margin_policy = serializers.CharField()
    margin_call_level = serializers.CharField()
    stop_out_level = serializers.CharField()
    levels_in = serializers.CharField()
    group = serializers.CharField(allow_null=True)
    state = serializers.CharField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Account) -> dict[str, Any]:
        rules = rules_of(instance)
        return {
            "key": instance.key,
            "owner": instance.owner.get_username(),
            "user_type": instance.user_type,
            "currency": instance.currency,
            "balance": shown(instance.balance, instance.currency),
            "leverage": instance.leverage,
            "position_mode": instance.position_mode,
            "marking": instance.marking,
            "margin_policy": instance.margin_policy,
            "margin_call_level": plain(rules.margin_call),
            "stop_out_level": plain(rules.stop_out),
            "levels_in": "money" if rules.in_money else "percent",
            "group": instance.group.name if instance.group else None,
            "state": instance.state,
            "created_at": instance.created_at,
        }


class FillReply(_Base):
    id = serializers.IntegerField()
    account = serializers.CharField()
    position = serializers.IntegerField()
    order = serializers.IntegerField(allow_null=True)
    symbol = serializers.CharField()
    side = serializers.CharField()
    quantity = serializers.CharField()
    price = serializers.CharField()
    opening = serializers.BooleanField()
    realized_pnl = serializers.CharField()
    commission = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Fill) -> dict[str, Any]:
        currency = instance.account.currency
        return {
            "id": instance.pk,
            "account": instance.account.key,
            "position": instance.position_id,
            "order": instance.order_id,
            "symbol": instance.instrument.symbol,
            "side": instance.side,
            "quantity": plain(instance.quantity),
            "price": plain(instance.price),
            "opening": instance.opening,
            "realized_pnl": shown(instance.realized_pnl, currency),
            "commission": shown(instance.commission, currency),
            "reason": instance.reason,
            "created_at": instance.created_at,
        }


class PositionReply(_Base):
    id = serializers.IntegerField()
    account = serializers.CharField()
    symbol = serializers.CharField()
    side = serializers.CharField()
    quantity = serializers.CharField()
    opened_quantity = serializers.CharField()
    price = serializers.CharField()
    margin = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    realized_pnl = serializers.CharField()
    opened_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Position) -> dict[str, Any]:
        currency = instance.account.currency
        return {
            "id": instance.pk,
            "account": instance.account.key,
            "symbol": instance.instrument.symbol,
            "side": instance.side,
            "quantity": plain(instance.quantity),
            "opened_quantity": plain(instance.opened_quantity),
            "price": plain(instance.price),
            "margin": shown(instance.margin, currency),
            "status": instance.status,
            "realized_pnl": shown(instance.realized_pnl, currency),
            "opened_at": instance.opened_at,
            "closed_at": instance.closed_at,
        }


class CloseReply(PositionReply):
    fill = FillReply()

    def to_representation(self, instance: Fill) -> dict[str, Any]:  # type: ignore[override]  # represented by its fill
        return {**super().to_representation(instance.position), "fill": FillReply(instance).data}


class OrderReply(_Base):
    id = serializers.IntegerField()
    account = serializers.CharField()
    symbol = serializers.CharField()
    side = serializers.CharField()
    type = serializers.CharField()
    quantity = serializers.CharField()
    price = serializers.CharField(allow_null=True)
    margin = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    reason = serializers.CharField()
    filled_price = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True)
    fills = FillReply(many=True)

    def to_representation(self, instance: Order) -> dict[str, Any]:
        return {
            "id": instance.pk,
            "account": instance.account.key,
            "symbol": instance.instrument.symbol,
            "side": instance.side,
            "type": instance.type,
            "quantity": plain(instance.quantity),
            "price": plain(instance.price),
            "margin": shown(instance.margin, instance.account.currency),
            "status": instance.status,
            "reason": instance.reason,
            "filled_price": plain(instance.filled_price),
            "created_at": instance.created_at,
            "done_at": instance.done_at,
            "fills": FillReply(instance.fills.all(), many=True).data,
        }


class LedgerReply(_Base):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    amount = serializers.CharField()
    balance = serializers.CharField()
    reference = serializers.CharField()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: LedgerEntry) -> dict[str, Any]:
        currency = instance.account.currency
        money = {"amount": shown(instance.amount, currency), "balance": shown(instance.balance, currency)}
        rest = {name: getattr(instance, name) for name in ("id", "kind", "reference", "note", "created_at")}
        return {**rest, **money}


class EventReply(serializers.ModelSerializer[MarginEvent]):
    class Meta:
        model = MarginEvent
        fields = ["id", "kind", "text", "created_at"]


class JournalReply(serializers.ModelSerializer[MarginEvent]):
    class Meta:
        model = MarginEvent
        fields = ["id", "kind", "reference", "text", "inputs", "created_at"]


class SnapshotPosition(_Base):
    id = serializers.IntegerField()
    symbol = serializers.CharField()
    side = serializers.CharField()
    quantity = serializers.CharField()
    price = serializers.CharField()
    unrealized_pnl = serializers.CharField(allow_null=True)


class SnapshotReply(_Base):
    account = serializers.CharField()
    version = serializers.IntegerField()
    epoch = serializers.IntegerField()
    ts = serializers.IntegerField()
    source = serializers.CharField(help_text="The feed")  # type: ignore[assignment]  # a field, not an attribute
    currency = serializers.CharField()
    balance = serializers.CharField()
    equity = serializers.CharField(allow_null=True)
    unrealized_pnl = serializers.CharField(allow_null=True)
    used_margin = serializers.CharField(allow_null=True)
    free_margin = serializers.CharField(allow_null=True)
    margin_level = serializers.CharField(allow_null=True)
    state = serializers.CharField()
    stale = serializers.BooleanField()
    missing = serializers.ListField(child=serializers.CharField())
    oldest_price_ts = serializers.IntegerField(allow_null=True)
    margin_call_level = serializers.CharField()
    margin_call_distance = serializers.CharField(allow_null=True)
    margin_call_price = serializers.CharField(allow_null=True)
    stop_out_level = serializers.CharField()
    stop_out_distance = serializers.CharField(allow_null=True)
    stop_out_price = serializers.CharField(allow_null=True)
    positions = SnapshotPosition(many=True)


class EquityReply(_Base):
    account = serializers.CharField()
    points = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="[ts, equity], oldest first"
    )
