"""Instruments and option contracts for staff; closed bars to look at."""

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError

from stocksblitz.admin import ReadOnlyAdmin
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars.overrides import check_exchange
from stocksblitz.market.models import Bar, Instrument, OptionContract


class InstrumentForm(forms.ModelForm):
    def clean_exchange(self) -> str:
        exchange: str = self.cleaned_data["exchange"]
        try:
            check_exchange(exchange)
        except StocksBlitzError as error:
            raise ValidationError(error.message) from None
        return exchange


@admin.register(Instrument)
class InstrumentAdmin(admin.ModelAdmin):
    form = InstrumentForm
    list_display = ("symbol", "name", "exchange", "kind", "currency", "tick_size", "margin_mode", "active")
    list_filter = ("kind", "exchange", "active", "margin_mode", "currency")
    search_fields = ("symbol", "name", "feed_symbol")


@admin.register(OptionContract)
class OptionContractAdmin(admin.ModelAdmin):
    list_display = ("instrument", "underlying", "expiry", "strike", "right")
    list_filter = ("right", ("underlying", admin.RelatedOnlyFieldListFilter), "expiry")
    search_fields = ("instrument__symbol", "underlying__symbol")
    list_select_related = ("instrument", "underlying")
    autocomplete_fields = ("instrument", "underlying")


@admin.register(Bar)
class BarAdmin(ReadOnlyAdmin):
    """Only the feed writes bars: one changed by hand would differ from what has been computed with it."""

    list_display = ("symbol", "timeframe", "ts", "open", "high", "low", "close", "volume")
    list_filter = ("timeframe",)
    search_fields = ("=symbol",)
    ordering = ("-ts",)
    show_full_result_count = False
