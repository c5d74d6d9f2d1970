"""Strict decoding of values that others wrote into Redis: each function returns a valid value or raises `BadData`.

Decoders of whole formats are built on these. Nothing here costs more for hostile input than for good input: texts are
measured before they are parsed, and a number is never built from an unbounded exponent. Build a Decimal from
``repr()`` of a decoded float, not from the raw text: ``0e9999999`` is a valid float, and stalls whoever expands it.
"""

from math import nan
from reprlib import Repr
from typing import Any

import orjson

MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: later times do not fit into Python's datetime."""
MAX_NUMBER_LENGTH = 32
"""Characters; the longest `repr` of a float has 24."""
MAX_JSON_LENGTH = 65_536
SHOWN_LENGTH = 60

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = SHOWN_LENGTH
_short.maxlevel = 2


class BadData(ValueError):
    """A value that does not follow its format. The message names the field and shows the value, cut short."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        short = value[:SHOWN_LENGTH] if isinstance(value, bytes | str) else value
        super().__init__(f"{field}: expected {expected}, got {_short.repr(short)[: SHOWN_LENGTH + 10]}")


def decode_number(field: str, raw: bytes | None, low: float, high: float) -> float | None:
    """Return the number, which lies within these finite bounds; None for a field that is missing or empty."""
    if not raw:
        return None
    try:
        value = float(raw) if len(raw) <= MAX_NUMBER_LENGTH else nan
    except ValueError:
        value = nan
    if not low <= value <= high or b"_" in raw:
        raise BadData(field, raw, f"a number from {low:g} to {high:g}")
    return value + 0.0  # a minus zero becomes zero


def decode_ms(field: str, raw: bytes | None) -> int | None:
    """Return a time in whole milliseconds UTC, at most `MAX_MS`; None for a field that is missing or empty."""
    value = decode_number(field, raw, 0, MAX_MS)
    return None if value is None else int(value)


def decode_text(field: str, raw: bytes | None, max_length: int = 64) -> str | None:
    """Return UTF-8 text of so many bytes at most; None for a field that is missing or empty."""
    if not raw:
        return None
    try:
        if len(raw) <= max_length:
            return raw.decode()
    except UnicodeDecodeError:
        pass
    raise BadData(field, raw, f"at most {max_length} bytes of UTF-8")


def decode_json(field: str, raw: bytes, max_length: int = MAX_JSON_LENGTH) -> Any:
    """Return a JSON value; NaN, infinities and numbers that overflow are refused like any other syntax error."""
    if len(raw) > max_length:
        raise BadData(field, raw, f"at most {max_length} bytes of JSON")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadData(field, raw, "JSON") from None
