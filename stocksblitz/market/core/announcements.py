"""The messages that announce new prices and bars: ``market_price_updates`` and ``bar_updates``."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json

MAX_SYMBOL_BYTES = 32
MAX_BAR_UPDATE_BYTES = 8 * 1024 * 1024
"""Of one flush: 200,000 symbols of the longest kind."""


class BarUpdate(NamedTuple):
    """One flush of the feed: the symbols it wrote, and when it did (ms UTC)."""

    symbols: list[str]
    ts: int


def decode_price_update(data: bytes) -> str:
    """Return the symbol that a message on ``market_price_updates`` names; BadData for anything else."""
    if len(data) <= MAX_SYMBOL_BYTES and data.isascii() and is_symbol(symbol := data.decode()):
        return symbol
    raise BadData("market_price_updates", data, "a symbol")


def encode_bar_update(symbols: Sequence[str], ts: int) -> bytes:
    """Return the message for ``bar_updates``."""
    return orjson.dumps({"symbols": symbols, "ts": ts})


def decode_bar_update(data: bytes) -> BarUpdate:
    """Return what a message on ``bar_updates`` says; BadData for anything else."""
    message = decode_json("bar_updates", data, MAX_BAR_UPDATE_BYTES)
    if not isinstance(message, dict):
        raise BadData("bar_updates", data, "an object with symbols and ts")
    symbols, ts = message.get("symbols"), message.get("ts")
    if not isinstance(symbols, list) or not all(
        isinstance(name, str) and is_symbol(name) for name in symbols
    ):
        raise BadData("bar_updates: symbols", symbols, "a list of symbols")
    if type(ts) is not int or not 0 <= ts <= MAX_MS:
        raise BadData("bar_updates: ts", ts, "milliseconds up to the year 9999")
    return BarUpdate(symbols, ts)
