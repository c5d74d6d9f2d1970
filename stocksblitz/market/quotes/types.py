"""The quote that a provider gives, and the price that a caller gets."""

import math
from typing import Any, Literal, NamedTuple

from stocksblitz.market.core.bars import MAX_PRICE, MIN_PRICE
from stocksblitz.redis.decoding import MAX_MS

Outcome = Literal["hit", "wait", "call"]
"""``hit``: cached; ``wait``: another caller's fetch was waited for; ``call``: the provider was called for this."""


class ProviderQuote(NamedTuple):
    """The quote of one instrument by its provider. Only the price is always known."""

    price: float
    bid: float | None = None
    ask: float | None = None
    ts: int | None = None
    """The quote's own time, ms UTC."""
    fresh_until: int | None = None
    """When the quote gets stale (wall clock, ms); None where its source does not say."""


class Price(NamedTuple):
    """The answer to a caller. Times in ms; ``ts`` and ``fresh_until`` are UTC."""

    price: float
    bid: float | None
    ask: float | None
    ts: int
    provider: str
    outcome: Outcome
    age_ms: int
    """Time since the provider answered."""
    ttl_ms: int
    """How long this price stays in the cache."""
    fresh_until: int | None


def number(raw: Any) -> float | None:
    """Return a finite number from what a provider sent (text, bytes or number), else None: NaN is no price."""
    if raw is None or isinstance(raw, bool):
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def price_number(raw: Any) -> float | None:
    """Return a price from what a provider sent: 0 or a number whose size is within the bounds of prices, else None."""
    value = number(raw)
    return value if value is not None and (value == 0 or MIN_PRICE <= abs(value) <= MAX_PRICE) else None


def time_number(raw: Any) -> int | None:
    """Return a time in whole ms UTC from what a provider sent; None when it is none or out of reach."""
    value = number(raw)
    return int(value) if value is not None and 0 <= value <= MAX_MS else None


def quote_of(
    last: object, bid: object = None, ask: object = None, **times: int | None
) -> ProviderQuote | None:
    """Return a quote at the last price, else at the middle of bid and ask; None when there is neither.

    A last price of 0 means that nothing was traded yet.
    """
    traded, low, high = price_number(last), price_number(bid), price_number(ask)
    if traded:
        return ProviderQuote(traded, low, high, **times)
    if low is None or high is None:
        return None
    return ProviderQuote((low + high) / 2, low, high, **times)
