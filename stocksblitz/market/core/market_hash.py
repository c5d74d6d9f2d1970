"""The hash ``market:{SYMBOL}``, decoded strictly: a function returns valid values or raises `BadData`.

Anybody may write prices there (the external feed lives on that), so nothing in it is believed unseen. A price is 0 (not
known, or no bid) or its size lies within `MIN_PRICE` and `MAX_PRICE`, so that sums, products and reciprocals stay finite.
Prices of spreads and of oil have been negative: whoever needs one above 0 must check that.
Forming bars, the fields ``bar:{timeframe}``, are decoded by `stocksblitz.market.store.bar_codec`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stocksblitz.market.core.bars import MAX_PRICE, MAX_VOLUME, MIN_PRICE
from stocksblitz.redis.decoding import BadData, decode_json, decode_ms, decode_number, decode_text

MAX_VALUES_BYTES = 4_096
"""Of Greeks or open interest as JSON; the longest that a feed writes has 400."""

Hash = Sequence[bytes | None] | Exception
"""The answer to one HMGET: its values, or the error of a key that holds no hash."""


class MarketPrice(NamedTuple):
    """The price of one symbol; None where a field is missing or empty. Times are ms UTC."""

    bid: float | None
    ask: float | None
    last: float | None
    volume: float | None
    ts: int | None
    fresh_until: int | None
    source: str | None


class FeedState(NamedTuple):
    """What the feed says of one symbol beside its price and bars; None where a field is missing or empty."""

    generation: str
    """Changes when the feed has rewritten the symbol's history."""
    source: str | None
    fresh_until: int | None
    greeks: dict[str, Any] | None
    oi: dict[str, Any] | None
    flushed: int | None = None
    """When the feed wrote this (ms UTC): delivery lag counts from here."""


PRICE_FIELDS = MarketPrice._fields
"""The fields that `decode_price` takes, in this order."""
STATE_FIELDS = ("gen", "source", "fresh_until", "greeks", "oi", "flushed")
"""The fields that `decode_feed_state` takes, in this order."""


def decode_price(values: Hash) -> MarketPrice:
    """Return the price of a symbol from its `PRICE_FIELDS`."""
    bid, ask, last, volume, ts, fresh_until, source = _values(values)
    return MarketPrice(
        _price("bid", bid),
        _price("ask", ask),
        _price("last", last),
        decode_number("volume", volume, 0, MAX_VOLUME),
        decode_ms("ts", ts),
        decode_ms("fresh_until", fresh_until),
        decode_text("source", source),
    )


def decode_prices(
    hashes: Iterable[tuple[str, Hash]],
) -> tuple[dict[str, MarketPrice], dict[str, BadData]]:
    """Return the prices of the symbols whose hashes are good, and what is wrong with the others."""
    prices: dict[str, MarketPrice] = {}
    bad: dict[str, BadData] = {}
    for symbol, values in hashes:
        try:
            prices[symbol] = decode_price(values)
        except BadData as error:
            bad[symbol] = error
    return prices, bad


def decode_feed_state(values: Hash) -> FeedState:
    """Return what the feed says of a symbol, from its `STATE_FIELDS`."""
    generation, source, fresh_until, greeks, oi, flushed = _values(values)
    return FeedState(
        decode_text("gen", generation) or "",
        decode_text("source", source),
        decode_ms("fresh_until", fresh_until),
        decode_values("greeks", greeks),
        decode_values("oi", oi),
        decode_ms("flushed", flushed),
    )


def decode_values(field: str, raw: bytes | None) -> dict[str, Any] | None:
    """Return Greeks or open interest: names with numbers, texts or null, or with one more such object."""
    if not raw:
        return None
    values = decode_json(field, raw, MAX_VALUES_BYTES)
    if not isinstance(values, dict) or not all(map(_is_value, values.values())):
        raise BadData(field, raw, "a JSON object of numbers")
    return values


def _values(values: Hash) -> Sequence[bytes | None]:
    if isinstance(values, Exception):
        raise BadData("key", str(values), "a hash")
    return values


def _price(field: str, raw: bytes | None) -> float | None:
    price = decode_number(field, raw, -MAX_PRICE, MAX_PRICE)
    if price and abs(price) < MIN_PRICE:
        raise BadData(field, raw, f"0 or a price of at least {MIN_PRICE:g}")
    return price


def _is_value(value: object) -> bool:
    return _is_leaf(value) or (isinstance(value, dict) and all(map(_is_leaf, value.values())))


def _is_leaf(value: object) -> bool:
    return value is None or type(value) in (int, float, str)
