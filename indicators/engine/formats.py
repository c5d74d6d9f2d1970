"""Strict decoders of what indicators keep in Redis and announce there: each returns a valid value or raises BadData."""

from math import isfinite
from typing import Any, NamedTuple, TypeGuard

from indicators.engine.spec import parse
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json
from stocksblitz.redis.keys import BARS_ONLY

MAX_ENTRY_BYTES = 4_096
"""Of one indicator's newest value: the one with the most parts has 500."""
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_CHANGES_BYTES = 8 * 1024 * 1024


def is_whole(value: Any, low: int = 0, high: int = MAX_MS) -> TypeGuard[int]:
    """Return whether this is a whole number within the bounds, both included."""
    return type(value) is int and low <= value <= high


def is_value(value: Any) -> bool:
    """Return whether this is an indicator's value: a finite number, null, or an object of such parts."""
    if isinstance(value, dict):
        return all(_is_number(part) for part in value.values())
    return _is_number(value)


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and isfinite(value))


def decode_latest(raw: bytes, timeframe: str) -> dict[str, Any]:
    """Read the newest value of an indicator, as `indicator:…:latest` holds it: ``{ts, value, timeframe, ready}``."""
    return check_entry(decode_json("latest", raw, MAX_ENTRY_BYTES), timeframe)


def check_entry(entry: Any, timeframe: str) -> dict[str, Any]:
    """Return the entry of one indicator, unless it is none of this timeframe."""
    if not isinstance(entry, dict) or entry.keys() != {"ts", "value", "timeframe", "ready"}:
        raise BadData("indicator", entry, "an object with ts, value, timeframe and ready")
    if not is_whole(entry["ts"]) or entry["timeframe"] != timeframe or type(entry["ready"]) is not bool:
        raise BadData("indicator", entry, f"a time in ms, the timeframe {timeframe} and whether it is ready")
    if not is_value(entry["value"]):
        raise BadData("indicator: value", entry["value"], "a finite number, null or an object of such parts")
    return entry


def check_series(values: Any, count: int) -> list[Any]:
    """Return the values of a stretch of history, unless they are none or more than so many."""
    if not isinstance(values, list) or len(values) > count or not all(map(is_value, values)):
        raise BadData("history", values, f"an array of at most {count} values")
    return values


def decode_frame(raw: bytes, timeframe: str) -> dict[str, Any]:
    """Read a frame as far as readers without a socket use it: an object whose indicators are entries."""
    frame = decode_json("frame", raw, MAX_FRAME_BYTES)
    if not isinstance(frame, dict) or not isinstance(frame.get("indicators"), dict):
        raise BadData("frame", raw, "an object with indicators")
    for entry in frame["indicators"].values():
        check_entry(entry, timeframe)
    return frame


class SubscriptionChanges(NamedTuple):
    """Computations that have their first subscriber now, and such that have lost their last one."""

    added: list[str]
    dropped: list[str]


def decode_subscription_changes(raw: bytes) -> SubscriptionChanges:
    """Read what the scripts of subscriptions announce: ``{"add": [...], "drop": [...]}``."""
    message = decode_json("demand", raw, MAX_CHANGES_BYTES)
    if not isinstance(message, dict) or message.keys() != {"add", "drop"}:
        raise BadData("demand", raw, "an object with add and drop")
    for computations in message.values():
        if not isinstance(computations, list):
            raise BadData("demand", computations, "arrays of computations")
        for text in computations:
            split_computation(text)
    return SubscriptionChanges(message["add"], message["drop"])


def decode_computation(raw: bytes) -> str:
    """Read a computation, ``SYMBOL|TF|ID``, as a member of a set in Redis."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadData("computation", raw, "UTF-8") from None
    split_computation(text)
    return text


def split_computation(text: Any) -> tuple[str, str, str]:
    """Return symbol, timeframe and canonical id of a computation, ``SYMBOL|TF|ID``."""
    if isinstance(text, str):
        symbol, timeframe, indicator = ([*text.split("|", 2), "", ""])[:3]
        if is_symbol(symbol) and timeframe in TIMEFRAMES and _is_canonical(indicator):
            return symbol, timeframe, indicator
    raise BadData("computation", text, "SYMBOL|TF|ID of the catalogue")


def _is_canonical(indicator: str) -> bool:
    if indicator == BARS_ONLY:
        return True
    try:
        return parse(indicator).id == indicator
    except StocksBlitzError:
        return False
