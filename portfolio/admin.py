"""The portfolio in the admin. Money moves through services alone: what they write is read-only here."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from portfolio.margin.explanation import plain
from portfolio.models import (
    Account,
    AccountGroup,
    Fill,
    IdempotencyKey,
    LedgerEntry,
    MarginEvent,
    Order,
    Position,
)
from portfolio.services import accounts
from portfolio.services.loader import check_tiers
from stocksblitz.admin import ReadOnlyAdmin


def _amount(name: str, label: str = "") -> Any:
    """A column of a decimal without the zeros that the database keeps at its end."""

    @admin.display(description=label or name.replace("_", " "), ordering=name)
    def column(row: Any) -> str | None:
        return plain(getattr(row, name))

    return column


_QUANTITY, _PRICE, _MARGIN = _amount("quantity"), _amount("price"), _amount("margin")
_REALIZED = _amount("realized_pnl", "realized")
_BALANCE = _amount("balance")
_HELD = ("instrument", admin.RelatedOnlyFieldListFilter)
"""Only what there is something of: a chain has hundreds of options."""


class GroupForm(forms.ModelForm):
    def clean_tiers(self) -> Any:
        return check_tiers(self.cleaned_data["tiers"])


@admin.register(AccountGroup)
class AccountGroupAdmin(admin.ModelAdmin):
    form = GroupForm
    list_display = ["name", "margin_call_level", "stop_out_level", "levels_in", "commission_rate"]
    search_fields = ["name"]


_TERMS = (
    "owner", "group", "leverage", "marking", "margin_policy", "margin_call_level", "stop_out_level", "levels_in",
)  # fmt: skip


class AccountForm(forms.ModelForm):
    opening_balance = forms.DecimalField(
        required=False, min_value=Decimal(0), max_digits=20, decimal_places=8, help_text="For a new account"
    )


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    """Rules may be changed; the balance is what the ledger says."""

    form = AccountForm
    list_display = ["key", "owner", "currency", _BALANCE, "leverage", "position_mode", "state", "group"]
    list_filter = ["user_type", "currency", "state", "position_mode", "group"]
    search_fields = ["key", "owner__username"]
    autocomplete_fields = ["owner", "group"]
    readonly_fields = ["balance", "state", "user_type", "number", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> list[str]:
        fields = [str(each) for each in super().get_readonly_fields(request, obj)]
        return [*fields, "key", "currency", "position_mode"] if obj else fields

    def get_exclude(self, request: HttpRequest, obj: Account | None = None) -> list[str] | None:
        return ["opening_balance"] if obj else None

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        terms = {name: form.cleaned_data[name] for name in _TERMS if name in form.cleaned_data}
        if change:
            accounts.change_account(key=obj.key, **terms)
            return
        opening = form.cleaned_data.get("opening_balance") or Decimal(0)
        made = {"key": obj.key, "currency": obj.currency, "position_mode": obj.position_mode, **terms}
        obj.pk = accounts.open_account(balance=opening, **made).pk

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Position)
class PositionAdmin(ReadOnlyAdmin):
    list_display = [
        "id", "account", "instrument", "side", _QUANTITY, _PRICE, _MARGIN, "status", _REALIZED, "opened_at",
    ]  # fmt: skip
    list_filter = ["status", "side", _HELD]
    search_fields = ["account__key", "instrument__symbol"]
    list_select_related = ["account", "instrument"]


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = [
        "id", "account", "instrument", "type", "side", _QUANTITY, _PRICE, "status", "reason", "created_at",
    ]  # fmt: skip
    list_filter = ["status", "type", "side", _HELD]
    search_fields = ["account__key", "instrument__symbol"]
    list_select_related = ["account", "instrument"]
    actions = ["cancel"]

    @admin.action(description="Cancel pending orders", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        pending = queryset.filter(status=Order.Status.PENDING).select_related("account")
        for order in pending:
            accounts.cancel_order(
                key=order.account.key, order_id=order.pk, reason=f"by {request.user.get_username()}"
            )
        self.message_user(request, f"{len(pending)} orders cancelled")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("portfolio.change_order"))


@admin.register(Fill)
class FillAdmin(ReadOnlyAdmin):
    list_display = [
        "id", "account", "instrument", "side", _QUANTITY, _PRICE, "opening", _REALIZED, "reason", "created_at",
    ]  # fmt: skip
    list_filter = ["reason", "opening", _HELD]
    search_fields = ["account__key", "instrument__symbol"]
    list_select_related = ["account", "instrument"]


@admin.register(LedgerEntry)
class LedgerAdmin(ReadOnlyAdmin):
    list_display = ["id", "account", "kind", _amount("amount"), _BALANCE, "reference", "note", "created_at"]
    list_filter = ["kind"]
    search_fields = ["account__key", "reference"]
    list_select_related = ["account"]


@admin.register(MarginEvent)
class MarginEventAdmin(ReadOnlyAdmin):
    list_display = ["id", "account", "kind", "text", "created_at"]
    list_filter = ["kind"]
    search_fields = ["account__key", "text"]
    list_select_related = ["account"]
    readonly_fields = ["explained"]

    @admin.display(description="Positions before")
    def explained(self, event: MarginEvent) -> str:
        shown = "#{id} {side} {quantity} {symbol} at {price}: {unrealized_pnl}"
        rows = [shown.format(**position) for position in event.inputs.get("positions", [])]
        return format_html("<pre>{}</pre>", "\n".join(rows) or "none")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ["key", "user", "status", "created_at"]
    search_fields = ["key", "user__username"]
