"""The shapes of the API, as its schema shows them."""

from typing import Any

from rest_framework import serializers

from stocksblitz.api.schema import JSONObject
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import SYMBOL_PATTERN

type S = serializers.Serializer[Any]


def _symbol() -> serializers.CharField:
    return serializers.RegexField(rf"^{SYMBOL_PATTERN}$")


def _timeframe() -> serializers.ChoiceField:
    return serializers.ChoiceField(choices=list(TIMEFRAMES))


class SubscribeRequest(serializers.Serializer[Any]):
    symbol = _symbol()
    timeframe = _timeframe()
    indicators = serializers.JSONField(
        required=False, help_text='`["RSI_14"]`, `[{"name", "params"}]` or `{id: {"name", "params"}}`'
    )
    session_id = serializers.UUIDField(required=False)


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


class UnsubscribeRequest(serializers.Serializer[Any]):
    symbol = _symbol()
    timeframe = _timeframe()
    indicators = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="left out: all of them"
    )
    session_id = serializers.UUIDField(required=False)


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


class HeartbeatRequest(serializers.Serializer[Any]):
    session_id = serializers.UUIDField(required=False)
    subscriptions = HeartbeatEntry(many=True)


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
