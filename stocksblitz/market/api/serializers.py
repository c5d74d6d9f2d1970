"""Instruments and market data, as the API shows them."""

from typing import Any

from rest_framework import serializers

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.schema import JSONObject
from stocksblitz.market.calendars.overrides import check_exchange
from stocksblitz.market.core.symbols import RESERVED_SYMBOLS
from stocksblitz.market.models import Instrument, OptionContract


class InstrumentShape(serializers.ModelSerializer[Instrument]):
    class Meta:
        model = Instrument
        fields = [
            "symbol",
            "name",
            "exchange",
            "kind",
            "base_currency",
            "currency",
            "contract_size",
            "lot_size",
            "tick_size",
            "margin_mode",
            "margin_rate",
            "initial_margin",
            "maintenance_margin",
            "hedged_margin",
            "hedged_larger_leg",
        ]
        # One symbol twice is a conflict (409), which the view tells.
        extra_kwargs = {
            "symbol": {
                "validators": [Instrument._meta.get_field("symbol").validators[0]],
                "trim_whitespace": False,
            }
        }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            raise serializers.ValidationError(
                {str(n)[:40]: ["is not a field of an instrument"] for n in sorted(unknown)}
            )
        return super().to_internal_value(data)

    def validate_symbol(self, symbol: str) -> str:
        if symbol in RESERVED_SYMBOLS:
            raise serializers.ValidationError("this word is a route, not a symbol")
        return symbol

    def validate_exchange(self, exchange: str) -> str:
        try:
            check_exchange(exchange)
        except StocksBlitzError as error:
            raise serializers.ValidationError(str(error)) from None
        return exchange


class SymbolsReply(serializers.Serializer[Any]):
    symbols = InstrumentShape(many=True)


class QuoteReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    price = serializers.FloatField()
    bid = serializers.FloatField(allow_null=True)
    ask = serializers.FloatField(allow_null=True)
    ts = serializers.IntegerField()
    provider = serializers.CharField()
    outcome = serializers.ChoiceField(choices=["hit", "wait", "call"])
    age_ms = serializers.IntegerField()
    stale = serializers.BooleanField()


class BarsReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    bars = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))
    complete = serializers.BooleanField()


class Gap(serializers.Serializer[Any]):
    start = serializers.IntegerField(help_text="where the first missing bar would open")
    end = serializers.IntegerField(help_text="where the next bar there is opens")


class GapsReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    gaps = Gap(many=True)


class OptionQuote(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    expiry = serializers.DateTimeField()
    strike = serializers.FloatField()
    right = serializers.ChoiceField(choices=OptionContract.Right.choices)
    bid = serializers.FloatField(allow_null=True)
    ask = serializers.FloatField(allow_null=True)
    last = serializers.FloatField(allow_null=True)
    ts = serializers.IntegerField(allow_null=True)
    greeks = JSONObject(allow_null=True)
    oi = JSONObject(allow_null=True)


class ChainReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    greeks = JSONObject(allow_null=True)
    oi = JSONObject(allow_null=True)
    contracts = OptionQuote(many=True)
