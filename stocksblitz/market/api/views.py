"""Market data over REST."""

from itertools import pairwise
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.parameters import whole_number
from stocksblitz.api.schema import documented
from stocksblitz.market.api import serializers as shapes
from stocksblitz.market.api import validation
from stocksblitz.market.core.bars import TIMEFRAMES, Sessions, ending, opening
from stocksblitz.market.core.market_hash import PRICE_FIELDS, decode_price, decode_values
from stocksblitz.market.models import Instrument, OptionContract
from stocksblitz.market.quotes.config import FEED_ACCOUNT
from stocksblitz.market.quotes.current_price import get_instrument_current_price_sync
from stocksblitz.market.store.history import MOST_BARS, read_bars
from stocksblitz.market.store.instruments import check_symbol
from stocksblitz.market.store.session_tables import sessions_of
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client
from stocksblitz.workers.runtime import now_ms

MOST_SYMBOLS = 500
DEFAULT_BARS = 300
TIMEFRAME = OpenApiParameter("timeframe", enum=list(TIMEFRAMES), required=True)
LIMIT = OpenApiParameter("limit", OpenApiTypes.INT, description=f"bars, at most {MOST_BARS}")
BEFORE = OpenApiParameter("before", OpenApiTypes.INT, description="only bars that opened before (ms UTC)")


class SymbolsView(APIView):
    @documented(shapes.SymbolsReply, parameters=[OpenApiParameter("search")], tags=["market"])
    def get(self, request: Request) -> Response:
        """The instruments there are; options of a chain only when searched for."""
        search = request.query_params.get("search", "").strip()[:64].replace("\x00", "")
        rows = Instrument.objects.filter(active=True)
        if search:
            rows = rows.filter(Q(symbol__icontains=search) | Q(name__icontains=search))
        else:
            rows = rows.exclude(kind=Instrument.Kind.OPTION)
        return Response({"symbols": shapes.InstrumentShape(rows[:MOST_SYMBOLS], many=True).data})

    @documented(shapes.InstrumentShape, 409, status=201, body=shapes.InstrumentShape, tags=["market"])
    def post(self, request: Request) -> Response:
        """Make an instrument (staff)."""
        if not request.user.is_staff:
            raise StocksBlitzError("forbidden", "instruments are made by staff")
        shape = shapes.InstrumentShape(data=request.data)
        shape.is_valid(raise_exception=True)
        try:
            with transaction.atomic():
                shape.save()
        except IntegrityError:
            symbol = shape.validated_data["symbol"]
            raise StocksBlitzError("conflict", f"{symbol} is there already: change it in the admin") from None
        return Response(shape.data, status=201)


class QuoteView(APIView):
    @documented(
        shapes.QuoteReply,
        404,
        parameters=[OpenApiParameter("account", description="of QUOTE_ACCOUNTS")],
        tags=["market"],
    )
    def get(self, request: Request, symbol: str) -> Response:
        """The price now: one call to its provider for all who ask."""
        account = request.query_params.get("account", FEED_ACCOUNT)
        price = get_instrument_current_price_sync(account, check_symbol(symbol))
        shown = ("price", "bid", "ask", "ts", "provider", "outcome", "age_ms")
        stale = price.fresh_until is not None and price.fresh_until < now_ms()
        return Response({"symbol": symbol, **{name: getattr(price, name) for name in shown}, "stale": stale})


class BarsView(APIView):
    @documented(shapes.BarsReply, 404, parameters=[TIMEFRAME, LIMIT, BEFORE], tags=["market"])
    def get(self, request: Request, symbol: str) -> Response:
        """Closed bars, oldest first."""
        query = request.query_params
        timeframe = validation.timeframe(query.get("timeframe"))
        limit = whole_number(query, "limit", DEFAULT_BARS, low=1, high=MOST_BARS) or DEFAULT_BARS
        history = read_bars(
            check_symbol(symbol), timeframe, limit, whole_number(query, "before", None, low=0, high=10**15)
        )
        return Response(
            {"symbol": symbol, "timeframe": timeframe, "bars": history.bars, "complete": history.complete}
        )


class GapsView(APIView):
    @documented(shapes.GapsReply, 404, parameters=[TIMEFRAME, LIMIT, BEFORE], tags=["market"])
    def get(self, request: Request, symbol: str) -> Response:
        """Where bars are missing though the exchange was open: in a minute without trades, or a feed that was away."""
        query = request.query_params
        timeframe = validation.timeframe(query.get("timeframe"))
        limit = whole_number(query, "limit", MOST_BARS, low=1, high=MOST_BARS) or MOST_BARS
        history = read_bars(
            check_symbol(symbol), timeframe, limit, whole_number(query, "before", None, low=0, high=10**15)
        )
        exchange = Instrument.objects.values_list("exchange", flat=True).get(symbol=symbol)
        opened = [bar[0] for bar in history.bars]
        found = gaps(sessions_of(exchange), timeframe, opened)
        return Response({"symbol": symbol, "timeframe": timeframe, "gaps": found})


def gaps(session_at: Sessions, timeframe: str, opened: list[int]) -> list[dict[str, int]]:
    """Stretches without bars between the opening times given, as the exchange's calendar sees them."""
    found, length = [], TIMEFRAMES[timeframe]
    for ts, following in pairwise(opened):
        session = session_at(ts)
        due = ending(session, length, opening(session, length, ts))
        if due >= session.close:
            due = max(due, session.until)
        if due < following:
            found.append({"start": due, "end": following})
    return found


class ChainView(APIView):
    @documented(
        shapes.ChainReply,
        404,
        parameters=[OpenApiParameter("expiry", OpenApiTypes.DATE, description="only this day's (UTC)")],
        tags=["market"],
    )
    def get(self, request: Request, symbol: str) -> Response:
        """The option chain of an underlying, with Greeks and open interest as far as they are known."""
        rows = OptionContract.objects.filter(underlying__symbol=check_symbol(symbol), instrument__active=True)
        if given := request.query_params.get("expiry"):
            rows = rows.filter(expiry__date=_day(given))
        contracts = list(rows.select_related("instrument"))
        symbols = [symbol, *(contract.instrument.symbol for contract in contracts)]
        own, *states = (_quoted(*found) for found in zip(symbols, _read_hashes(symbols), strict=True))
        shown = [_contract(contract, state) for contract, state in zip(contracts, states, strict=True)]
        return Response({"symbol": symbol, "greeks": own["greeks"], "oi": own["oi"], "contracts": shown})


_QUOTED = (*PRICE_FIELDS, "greeks", "oi")
_SHOWN = ("bid", "ask", "last", "ts")
_UNKNOWN = dict.fromkeys((*_SHOWN, "greeks", "oi"))
_bad_markets = BadDataLog("market")


def _day(given: str) -> Any:
    return serializers.DateField().run_validation(given)


def _read_hashes(symbols: list[str]) -> list[Any]:
    pipe = sync_client().pipeline(transaction=False)
    for symbol in symbols:
        pipe.hmget(current_keys().market(symbol), *_QUOTED)
    return each_answer_sync(pipe)


def _quoted(symbol: str, answer: Any) -> dict[str, Any]:
    """Return what the market hash says of a contract; nothing where it cannot be read."""
    with _bad_markets.skip(symbol):
        *prices, greeks, oi = good(answer)
        price = decode_price(prices)
        return {
            **{name: getattr(price, name) for name in _SHOWN},
            "greeks": decode_values("greeks", greeks),
            "oi": decode_values("oi", oi),
        }
    return _UNKNOWN


def _contract(contract: OptionContract, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "symbol": contract.instrument.symbol,
        "expiry": contract.expiry,
        "strike": float(contract.strike),
        "right": contract.right,
        **state,
    }
