"""Prices as the feed left them in Redis, read for the oracle (Decimal) and for the columns (float)."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from django.conf import settings

from portfolio.margin.fx import Graph, Pair
from portfolio.margin.types import MarketPrices, Quote, Terms
from portfolio.valuation.price_columns import PriceTick, usable
from stocksblitz.market.feeds.spec import MOCK_FEEDS
from stocksblitz.market.models import Instrument
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.runtime import now_ms

FIELDS = ("bid", "ask", "last", "ts", "fresh_until", "source")
Raw = Sequence[bytes | None]


def priced(user_type: str) -> bool:
    """Whether accounts of this type may be reckoned with the prices of the running realm."""
    return not settings.FEED.mock or user_type in settings.PORTFOLIO_MOCK_TYPES


def _number(raw: bytes | None) -> Decimal | None:
    try:
        return Decimal(raw.decode()) if raw else None
    except (InvalidOperation, UnicodeDecodeError):
        return None


def _sides(raw: Raw) -> tuple[Decimal, Decimal] | None:
    """Bid and ask; the last price for both where a feed has no sides. None when it cannot be reckoned with."""
    bid, ask, last = (_number(each) for each in raw[:3])
    low, high = (bid, ask) if bid is not None and ask is not None else (last, last)
    if low is None or high is None or not usable(float(low), float(high)):
        return None
    return low, high


def _times(raw: Raw) -> tuple[int, int]:
    """The price's own time, and until when it is fresh on the wall clock."""
    ts, until = (_number(each) for each in raw[3:5])
    moment = int(ts) if ts is not None and ts.is_finite() else 0
    if until is None or not until.is_finite():
        return moment, moment + settings.PORTFOLIO_PRICE_STALE_MS
    return moment, int(until)


def _foreign(raw: Raw) -> bool:
    """A simulated price among real ones: never to be reckoned with."""
    return not settings.FEED.mock and (raw[5] or b"").decode(errors="replace") in MOCK_FEEDS


def tick_of(raw: Raw) -> PriceTick | None:
    """The fields of a market hash as a row for the columns; None when there is no usable price."""
    sides = None if _foreign(raw) else _sides(raw)
    return None if sides is None else PriceTick(float(sides[0]), float(sides[1]), *_times(raw))


def quote_of(raw: Raw, now: int) -> Quote | None:
    """The same for the oracle."""
    sides = None if _foreign(raw) else _sides(raw)
    if sides is None:
        return None
    ts, until = _times(raw)
    return Quote(*sides, ts, now <= until)


def read_quotes(symbols: Iterable[str]) -> dict[str, Quote]:
    """The usable quotes of these symbols at this moment."""
    names, pipe = sorted(set(symbols)), sync_client().pipeline(transaction=False)
    for name in names:
        pipe.hmget(current_keys().market(name), FIELDS)
    found = zip(names, pipe.execute(), strict=True)
    now = now_ms()
    return {name: quote for name, raw in found if (quote := quote_of(raw, now)) is not None}


def read_graph() -> Graph:
    """The pairs that currencies can be converted over: every forex and crypto instrument."""
    ranks = {Instrument.Kind.FOREX: 0, Instrument.Kind.CRYPTO: 1}
    rows = Instrument.objects.filter(kind__in=ranks, active=True).exclude(base_currency="")
    found = rows.values_list("symbol", "base_currency", "currency", "kind")
    return Graph(
        Pair(symbol, base, quote, ranks[Instrument.Kind(kind)]) for symbol, base, quote, kind in found
    )


def read_market(symbols: Iterable[str], user_type: str) -> MarketPrices:
    """What an account with these symbols is reckoned with: their quotes, and those of every pair.

    Empty for an account that may not see the running realm's prices.
    """
    graph = read_graph()
    return MarketPrices(read_quotes({*symbols, *graph.symbols}) if priced(user_type) else {}, graph)


def terms_of(instrument: Instrument) -> Terms:
    return Terms(
        symbol=instrument.symbol,
        currency=instrument.currency,
        base_currency=instrument.base_currency,
        contract_size=instrument.contract_size,
        mode=instrument.margin_mode,
        margin_rate=instrument.margin_rate,
        initial_margin=instrument.initial_margin,
        maintenance_margin=instrument.maintenance_margin,
        hedged_margin=instrument.hedged_margin,
        larger_leg=instrument.hedged_larger_leg,
    )
