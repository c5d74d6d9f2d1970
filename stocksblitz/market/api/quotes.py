"""How quotes were answered, over REST."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from stocksblitz.api.schema import documented
from stocksblitz.market.quotes.stats import COUNTS, read
from stocksblitz.redis.client import current_keys, sync_client


class Counts(serializers.Serializer[Any]):
    hits = serializers.IntegerField(help_text="answered with a price that was kept")
    misses = serializers.IntegerField(help_text="the others: waits and fetches")
    waits = serializers.IntegerField(help_text="misses that waited for somebody else's fetch")
    api_calls = serializers.IntegerField(help_text="calls to the provider, repeated attempts too")
    failures = serializers.IntegerField(help_text="asks that ended with an error")
    stretched = serializers.IntegerField(help_text="prices kept longer because many waited for them")
    hit_rate = serializers.FloatField(allow_null=True, help_text="hits of all asks; null before the first")


class AccountCounts(Counts):
    account = serializers.CharField()
    provider = serializers.CharField()


class QuoteStats(serializers.Serializer[Any]):
    price_cache_time = serializers.FloatField(help_text="seconds that a price is kept")
    price_cache_time_max = serializers.FloatField(help_text="seconds, when many wait for it")
    accounts = AccountCounts(many=True)
    providers = serializers.DictField(child=Counts())
    total = Counts()


class QuoteStatsView(APIView):
    @documented(QuoteStats, tags=["market"])
    def get(self, request: Request) -> Response:
        """How quotes were answered, over all processes; at most about a second old."""
        sums = read(sync_client(), current_keys())
        rows = [{"account": a, "provider": p, **_rated(counts)} for (a, p), counts in sorted(sums.items())]
        providers = {
            provider: _sum(counts for (_, each), counts in sums.items() if each == provider)
            for provider in sorted({provider for _, provider in sums})
        }
        ttl = settings.PRICE_CACHE_TIME
        return Response(
            {
                "price_cache_time": ttl,
                "price_cache_time_max": ttl * max(1, settings.PRICE_CACHE_STRETCH),
                "accounts": rows,
                "providers": providers,
                "total": _sum(sums.values()),
            }
        )


def _sum(rows: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    found = list(rows)
    return _rated({name: sum(row[name] for row in found) for name in COUNTS})


def _rated(counts: Mapping[str, int]) -> dict[str, Any]:
    asks = counts["hits"] + counts["misses"]
    return {**counts, "hit_rate": counts["hits"] / asks if asks else None}
