"""Prices as the feed left them in Redis, read for the oracle (Decimal) and for the columns (float)."""

from collections.abc import Iterable
from decimal import Decimal

from django.conf import settings

from portfolio.margin.fx import Graph, Pair
from portfolio.margin.types import MarketPrices, Quote, Terms
from portfolio.valuation.price_columns import PriceTick, usable
from stocksblitz.market.core.market_hash import PRICE_FIELDS, MarketPrice, decode_prices
from stocksblitz.market.feeds.spec import MOCK_FEEDS
from stocksblitz.market.models import Instrument
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, sync_client
from stocksblitz.workers.runtime import now_ms

bad_prices = BadDataLog("market_hash")
"""Market hashes that the portfolio could not read."""


def priced(user_type: str) -> bool:
    """Return whether accounts of this type may be valued with the prices of the running realm."""
    return not settings.FEED.mock or user_type in settings.PORTFOLIO_MOCK_TYPES


def tick_of(price: MarketPrice) -> PriceTick | None:
    """Return the price as a row for the columns; None when accounts cannot be valued with it."""
    bid, ask = (price.last, price.last) if None in (price.bid, price.ask) else (price.bid, price.ask)
    if bid is None or ask is None or not usable(bid, ask) or _is_simulated_among_real(price):
        return None
    ts = price.ts or 0
    fresh_until = price.fresh_until
    return PriceTick(
        bid, ask, ts, ts + settings.PORTFOLIO_PRICE_STALE_MS if fresh_until is None else fresh_until
    )


def _is_simulated_among_real(price: MarketPrice) -> bool:
    return not settings.FEED.mock and price.source in MOCK_FEEDS


def quote_of(price: MarketPrice, now: int) -> Quote | None:
    """Return the price as the oracle takes it; None when accounts cannot be valued with it."""
    tick = tick_of(price)
    if tick is None:
        return None
    return Quote(Decimal(repr(tick.bid)), Decimal(repr(tick.ask)), tick.ts, now <= tick.fresh_until)


def read_quotes(symbols: Iterable[str]) -> dict[str, Quote]:
    """Return the usable quotes of these symbols at this moment."""
    names, pipe = sorted(set(symbols)), sync_client().pipeline(transaction=False)
    for name in names:
        pipe.hmget(current_keys().market(name), PRICE_FIELDS)
    prices, bad = decode_prices(zip(names, each_answer_sync(pipe), strict=True))
    bad_prices.record(prices, bad)
    now = now_ms()
    return {name: quote for name, price in prices.items() if (quote := quote_of(price, now)) is not None}


def read_graph() -> Graph:
    """Return the pairs that currencies can be converted over: every forex and crypto instrument."""
    ranks = {Instrument.Kind.FOREX: 0, Instrument.Kind.CRYPTO: 1}
    rows = Instrument.objects.filter(kind__in=ranks, active=True).exclude(base_currency="")
    found = rows.values_list("symbol", "base_currency", "currency", "kind")
    return Graph(
        Pair(symbol, base, quote, ranks[Instrument.Kind(kind)]) for symbol, base, quote, kind in found
    )


def read_market(symbols: Iterable[str], user_type: str) -> MarketPrices:
    """Return what an account with these symbols is valued with: their quotes, and those of every pair.

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
