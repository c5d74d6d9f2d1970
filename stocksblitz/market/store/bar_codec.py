"""How bars are written in Redis: the only encoder and decoder of the hot store's members and of forming bars.

A closed bar is the JSON array ``[ts, open, high, low, close, volume, session]``. A forming bar, the field
``bar:{timeframe}`` of the market hash, has the opening time of the bar that closed before it at its end (0: none).
Decoding is strict: it returns a bar whose numbers fit together, or raises `BadData`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from stocksblitz.market.core.bars import Bar, fault
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json

MAX_BAR_BYTES = 512
"""Eight numbers of 24 characters have about 200."""
_NUMBERS = frozenset({int, float})


class FormingBar(NamedTuple):
    """A bar that is not closed yet, and the opening time of the one that closed before it (0: none)."""

    bar: Bar
    prev_ts: int


def encode_bar(bar: Bar) -> bytes:
    """Return a closed bar as the hot store holds it."""
    return orjson.dumps((*bar,))


def encode_forming(bar: Bar, prev_ts: int) -> bytes:
    """Return a forming bar as the market hash holds it."""
    return orjson.dumps((*bar, prev_ts))


def decode_bar(raw: bytes) -> Bar:
    """Return the closed bar that a member of the hot store holds."""
    return _bar("bar", _numbers("bar", raw, 7))


def decode_forming(raw: bytes | None) -> FormingBar | None:
    """Return the forming bar that a field of the market hash holds; None for a field that is missing or empty."""
    if not raw:
        return None
    numbers = _numbers("forming bar", raw, 8)
    return FormingBar(_bar("forming bar", numbers), _ms("forming bar: prev_ts", numbers[7]))


def decode_bars(members: Iterable[bytes] | Exception) -> tuple[list[Bar], list[BadData]]:
    """Return the bars of a hot store in the order given, and what is wrong with the members that hold none.

    ``members`` may be the error that Redis answers for a key of another type.
    """
    if isinstance(members, Exception):
        return [], [BadData("key", str(members), "a sorted set")]
    bars: list[Bar] = []
    bad: list[BadData] = []
    for raw in members:
        try:
            bars.append(decode_bar(raw))
        except BadData as error:
            bad.append(error)
    return bars, bad


def _numbers(field: str, raw: bytes, count: int) -> list[Any]:
    numbers = decode_json(field, raw, MAX_BAR_BYTES)
    if type(numbers) is not list or len(numbers) != count or not _NUMBERS.issuperset(map(type, numbers)):
        raise BadData(field, raw, f"a JSON array of {count} numbers")
    return numbers


def _bar(field: str, numbers: list[Any]) -> Bar:
    ts, first, high, low, close, volume, session = numbers[:7]
    bar = Bar(
        _ms(field, ts),
        float(first),
        float(high),
        float(low),
        float(close),
        float(volume),
        _ms(field, session),
    )
    if reason := fault(bar):
        raise BadData(field, orjson.dumps(numbers), f"a valid bar ({reason})")
    return bar


def _ms(field: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_MS:
        raise BadData(field, value, "times in whole milliseconds up to the year 9999")
    return value
