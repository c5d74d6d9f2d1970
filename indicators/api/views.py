"""Indicators over REST: subscribe, read, and see what is shared."""

from functools import cache as remember
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from indicators.api import serializers
from indicators.engine.spec import Spec, catalogue
from indicators.reads import cache, session_data
from indicators.subscriptions import requests
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.parameters import whole_number
from stocksblitz.api.schema import SESSION_HEADER, documented
from stocksblitz.identity.authentication import Credentials, session_id_of, user_id
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.store.history import MOST_BARS
from stocksblitz.market.store.instruments import check_symbol

TIMEFRAME = OpenApiParameter("timeframe", enum=list(TIMEFRAMES), required=True)
DEFAULT_BARS = 300


def _ids(request: Request, *, required: bool) -> dict[str, Spec]:
    """Return the indicators of a query, separated by commas."""
    given = [indicator for indicator in request.query_params.get("indicators", "").split(",") if indicator]
    if required and not given:
        raise StocksBlitzError("invalid_parameter", "indicators: expected ids separated by commas, got none")
    return requests.read_indicators(given)


def _body(request: Request, shape: type[serializers.RequestBody]) -> Any:
    """Return the validated body."""
    body = shape(data=request.data)
    body.is_valid(raise_exception=True)
    return body.validated_data


def _login(request: Request) -> Any:
    return request.auth.login_id if isinstance(request.auth, Credentials) else None


class SubscribeView(APIView):
    @documented(
        serializers.SubscribeReply,
        404,
        409,
        body=serializers.SubscribeRequest,
        parameters=[SESSION_HEADER],
        tags=["indicators"],
    )
    def post(self, request: Request) -> Response:
        """Subscribe this session to indicators; none: to the bars, Greeks and open interest alone."""
        body = _body(request, serializers.SubscribeRequest)
        session_id = session_id_of(request, body["session_id"])
        symbol, timeframe = body["symbol"], body["timeframe"]
        result = subscriptions.subscribe_sync(
            user_id=user_id(request),
            session_id=session_id,
            symbol=symbol,
            timeframe=timeframe,
            specs=body["indicators"],
            login_id=_login(request),
        )
        return Response(
            {
                "status": "subscribed",
                "session_id": session_id,
                "symbol": symbol,
                "timeframe": timeframe,
                "indicators": result.indicators,
                "results": result.results,
            }
        )


class UnsubscribeView(APIView):
    @documented(
        serializers.UnsubscribeReply,
        404,
        body=serializers.UnsubscribeRequest,
        parameters=[SESSION_HEADER],
        tags=["indicators"],
    )
    def post(self, request: Request) -> Response:
        """Take indicators of a stream away; what is not there is no error."""
        body = _body(request, serializers.UnsubscribeRequest)
        result = subscriptions.unsubscribe_sync(
            user_id=user_id(request),
            session_id=session_id_of(request, body["session_id"]),
            symbol=body["symbol"],
            timeframe=body["timeframe"],
            indicators=body["indicators"],
        )
        shown = ("indicator", "last", "ref_count")
        return Response(
            {
                "status": "unsubscribed",
                "results": [{name: row[name] for name in shown} for row in result.results],
            }
        )


class HeartbeatView(APIView):
    @documented(
        serializers.HeartbeatReply,
        body=serializers.HeartbeatRequest,
        parameters=[SESSION_HEADER],
        tags=["indicators"],
    )
    def post(self, request: Request) -> Response:
        """Keep subscriptions alive; what is not named does not expire sooner."""
        body = _body(request, serializers.HeartbeatRequest)
        entries = body["subscriptions"]
        alive = subscriptions.heartbeat_sync(
            user_id=user_id(request),
            session_id=session_id_of(request, body["session_id"]),
            entries=entries,
        )
        results = [
            {"indicator": entry[2], "alive": is_alive} for entry, is_alive in zip(entries, alive, strict=True)
        ]
        return Response({"status": "ok", "results": results})


class DataView(APIView):
    @documented(serializers.DataReply, 404, parameters=[TIMEFRAME, SESSION_HEADER], tags=["indicators"])
    def get(self, request: Request, symbol: str) -> Response:
        """Return the newest bar with exactly the indicators that this session has subscribed to."""
        symbol = requests.read_symbol(symbol)
        timeframe = requests.read_timeframe(request.query_params.get("timeframe"))
        specs = session_data.subscribed(user_id(request), session_id_of(request), symbol, timeframe)
        return Response(session_data.data(symbol, timeframe, specs, user_id=user_id(request)))


class CurrentView(APIView):
    @documented(
        serializers.CurrentReply,
        404,
        parameters=[
            TIMEFRAME,
            OpenApiParameter("indicators", required=True, description="ids, separated by commas"),
        ],
        tags=["indicators"],
    )
    def get(self, request: Request, symbol: str) -> Response:
        """Return newest values without a subscription: from the cache, else computed once for all who ask."""
        timeframe = requests.read_timeframe(request.query_params.get("timeframe"))
        specs = _ids(request, required=True)
        answer = cache.current_sync(check_symbol(symbol), timeframe, specs, user_id=user_id(request))
        values = {asked: {**entry, "stale": answer.stale} for asked, entry in answer.values.items()}
        body = {"symbol": symbol, "timeframe": timeframe, "indicators": values}
        return Response(body, headers={"X-Cache": answer.outcome})


class HistoryView(APIView):
    @documented(
        serializers.HistoryReply,
        404,
        parameters=[
            TIMEFRAME,
            OpenApiParameter("indicators", description="ids, separated by commas; none: bars alone"),
            OpenApiParameter("limit", OpenApiTypes.INT, description=f"bars, at most {MOST_BARS}"),
            OpenApiParameter("before", OpenApiTypes.INT, description="only bars that opened before (ms UTC)"),
        ],
        tags=["indicators"],
    )
    def get(self, request: Request, symbol: str) -> Response:
        """Return closed bars and one value per bar, oldest first."""
        query = request.query_params
        timeframe, specs = requests.read_timeframe(query.get("timeframe")), _ids(request, required=False)
        limit = whole_number(query, "limit", DEFAULT_BARS, low=1, high=MOST_BARS)
        before = whole_number(query, "before", None, low=0, high=10**15)
        canonical = list(dict.fromkeys(spec.id for spec in specs.values()))
        found = cache.history_sync(
            check_symbol(symbol),
            timeframe,
            canonical,
            user_id=user_id(request),
            limit=limit or DEFAULT_BARS,
            before=before,
        )
        body = {
            "symbol": symbol,
            "timeframe": timeframe,
            "bars": found["bars"],
            "indicators": {asked: found["indicators"][spec.id] for asked, spec in specs.items()},
            "complete": found["complete"],
        }
        return Response(body, headers={"X-Cache": found["cache"]})


class SubscriptionsView(APIView):
    @documented(
        serializers.SubscriptionsReply,
        404,
        parameters=[
            SESSION_HEADER,
            OpenApiParameter("symbol"),
            OpenApiParameter("timeframe", enum=list(TIMEFRAMES)),
            OpenApiParameter(
                "all", OpenApiTypes.BOOL, description="staff: every computation, and who shares it"
            ),
        ],
        tags=["indicators"],
    )
    def get(self, request: Request) -> Response:
        """Return what this session has subscribed to."""
        query = request.query_params
        symbol = requests.read_symbol(query["symbol"]) if query.get("symbol") else None
        timeframe = requests.read_timeframe(query["timeframe"]) if query.get("timeframe") else None
        if query.get("all", "").lower() in ("true", "1"):
            if not request.user.is_staff:
                raise StocksBlitzError("forbidden", "all=true is for staff: leave it out to see your own")
            return Response({"subscriptions": subscriptions.active_sync(symbol, timeframe)})
        own = subscriptions.listing_sync(
            user_id=user_id(request),
            session_id=session_id_of(request),
            symbol=symbol,
            timeframe=timeframe,
        )
        return Response({"subscriptions": own})


@remember
def _catalogue() -> list[dict[str, Any]]:
    return catalogue()


class CatalogueView(APIView):
    @documented(serializers.CatalogueReply, tags=["indicators"])
    def get(self, request: Request) -> Response:
        """Return every indicator of the catalogue."""
        return Response({"indicators": _catalogue()})


class MetricsView(APIView):
    @documented(serializers.MetricsReply, tags=["indicators"])
    def get(self, request: Request) -> Response:
        """Return how much is shared, over all processes."""
        return Response(session_data.figures())
