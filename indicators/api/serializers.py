"""The bodies of the API: requests are validated and described by one class each, replies are described."""

from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from indicators.subscriptions import requests
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.schema import JSONObject
from stocksblitz.identity.authentication import parse_session_id
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import SYMBOL_PATTERN


class RequestBody(serializers.Serializer[Any]):
    """A body with exactly the fields it describes; the first wrong one is the error."""

    def to_internal_value(self, data: Any) -> Any:
        names = ", ".join(self.fields)
        if not isinstance(data, dict):
            raise StocksBlitzError("invalid_message", f"expected a JSON object with {names}")
        if unknown := sorted(str(name)[:40] for name in data.keys() - self.fields.keys()):
            raise StocksBlitzError("invalid_message", f"unknown: {', '.join(unknown[:5])}; expected {names}")
        return super().to_internal_value(data)


class SymbolField(serializers.RegexField):
    def __init__(self, **options: Any) -> None:
        super().__init__(rf"^{SYMBOL_PATTERN}$", **options)

    def run_validation(self, data: Any = empty) -> str:
        return requests.read_symbol(None if data is empty else data)


class TimeframeField(serializers.ChoiceField):
    def __init__(self, **options: Any) -> None:
        super().__init__(choices=list(TIMEFRAMES), **options)

    def run_validation(self, data: Any = empty) -> str:
        return requests.read_timeframe(None if data is empty else data)


class IndicatorsField(serializers.JSONField):
    def run_validation(self, data: Any = empty) -> Any:
        return requests.read_indicators(None if data is empty else data)


class IdsField(serializers.ListField):
    child = serializers.CharField()

    def run_validation(self, data: Any = empty) -> Any:
        return requests.read_ids(None if data is empty else data)


class SessionField(serializers.UUIDField):
    """The id of a session, as text; None where it is left out."""

    def run_validation(self, data: Any = empty) -> Any:
        return None if data is empty or data in (None, "") else parse_session_id(data)


class SubscribeRequest(RequestBody):
    symbol = SymbolField()
    timeframe = TimeframeField()
    indicators = IndicatorsField(
        required=False, help_text='`["RSI_14"]`, `[{"name", "params"}]` or `{id: {"name", "params"}}`'
    )
    session_id = SessionField(required=False)


class SubscribeResultSerializer(serializers.Serializer[Any]):
    indicator = serializers.CharField()
    new = serializers.BooleanField(help_text="whether the computation starts with this")
    ref_count = serializers.IntegerField(help_text="sessions that share the computation")


class SubscribeReply(serializers.Serializer[Any]):
    status = serializers.CharField()
    session_id = serializers.UUIDField()
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    indicators = serializers.ListField(child=serializers.CharField())
    results = SubscribeResultSerializer(many=True)


class UnsubscribeRequest(RequestBody):
    symbol = SymbolField()
    timeframe = TimeframeField()
    indicators = IdsField(required=False, help_text="left out: all of them")
    session_id = SessionField(required=False)


class UnsubscribeResultSerializer(serializers.Serializer[Any]):
    indicator = serializers.CharField()
    last = serializers.BooleanField(help_text="whether the computation ends with this")
    ref_count = serializers.IntegerField()


class UnsubscribeReply(serializers.Serializer[Any]):
    status = serializers.CharField()
    results = UnsubscribeResultSerializer(many=True)


class HeartbeatEntry(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    indicator_id = serializers.CharField()


class EntriesField(serializers.ListField):
    child = HeartbeatEntry()

    def run_validation(self, data: Any = empty) -> Any:
        return requests.read_entries(None if data is empty else data, "indicator_id")


class HeartbeatRequest(RequestBody):
    session_id = SessionField(required=False)
    subscriptions = EntriesField()


class HeartbeatResult(serializers.Serializer[Any]):
    indicator = serializers.CharField()
    alive = serializers.BooleanField()


class HeartbeatReply(serializers.Serializer[Any]):
    status = serializers.CharField()
    results = HeartbeatResult(many=True)


class Ohlcv(serializers.Serializer[Any]):
    ts = serializers.IntegerField()
    open = serializers.FloatField()
    high = serializers.FloatField()
    low = serializers.FloatField()
    close = serializers.FloatField()
    volume = serializers.FloatField()
    closed = serializers.BooleanField()


class DataReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    timestamp = serializers.CharField()
    ohlcv = Ohlcv(allow_null=True)
    greeks = JSONObject(allow_null=True)
    oi = JSONObject(allow_null=True)
    indicators = serializers.JSONField(help_text="id: {ts, value, timeframe, ready}")
    source = serializers.CharField(allow_null=True)  # type: ignore[assignment]  # a field of this name
    stale = serializers.BooleanField()


class CurrentReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    indicators = serializers.JSONField(help_text="id: {ts, value, timeframe, ready, stale}")


class HistoryReply(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    timeframe = serializers.CharField()
    bars = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))
    indicators = serializers.JSONField(help_text="id: [value or null, one per bar]")
    complete = serializers.BooleanField()


class SubscriptionsReply(serializers.Serializer[Any]):
    subscriptions = serializers.ListField(child=serializers.JSONField())


class CatalogueReply(serializers.Serializer[Any]):
    indicators = serializers.ListField(child=serializers.JSONField())


class CacheFigures(serializers.Serializer[Any]):
    hits = serializers.IntegerField()
    misses = serializers.IntegerField()
    hit_rate = serializers.FloatField(allow_null=True)


class MetricsReply(serializers.Serializer[Any]):
    total_subscriptions = serializers.IntegerField()
    by_symbol = serializers.DictField(child=serializers.IntegerField())
    by_timeframe = serializers.DictField(child=serializers.IntegerField())
    total_subscribers = serializers.IntegerField()
    cache = CacheFigures()
    computations = serializers.IntegerField()
    users_per_computation = serializers.FloatField(allow_null=True)
    reuse_ratio = serializers.FloatField(allow_null=True)
