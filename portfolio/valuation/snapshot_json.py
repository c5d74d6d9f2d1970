"""Snapshots of many accounts as JSON, from the columns (pure). The fields are those of
`portfolio.margin.snapshot`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from portfolio.margin.explanation import SIDE_NAMES, plain, shown
from portfolio.margin.types import Holding, MarginAccount
from portfolio.valuation.book import STATES, Book
from portfolio.valuation.column_table import Floats, Ints
from stocksblitz.market.core.currencies import minor_unit_places

NUDGE = 1e-6
"""Added to the smallest unit before it is cut, so that 0.125, which a float may hold from below, is still
rounded up.
"""


@dataclass(frozen=True, slots=True)
class Static:
    """What of an account's JSON stays the same between its changes, with a place for each number that does
    not.
    """

    places: int
    template: bytes


def static_of(key: str, account: MarginAccount, source: str) -> Static:
    """``source``: where the prices come from."""
    rules, digits = account.rules, minor_unit_places(account.rules.currency)
    number = b'"%%.%df"' % digits
    head = {
        "account": key,
        "source": source,
        "currency": rules.currency,
        "balance": shown(account.balance, rules.currency),
    }
    call, stop = orjson.dumps(plain(rules.margin_call)), orjson.dumps(plain(rules.stop_out))
    parts = [
        orjson.dumps(head)[1:-1].replace(b"%", b"%%"),
        *(
            b',"%b":%b' % (name, number)
            for name in (b"equity", b"unrealized_pnl", b"used_margin", b"free_margin")
        ),
        b',"margin_level":%b,"state":"%b","stale":%b,"missing":%b',
        b',"margin_call_level":' + call + b',"margin_call_distance":%b,"margin_call_price":%b',
        b',"stop_out_level":' + stop + b',"stop_out_distance":%b,"stop_out_price":%b',
        b',"positions":[',
        b",".join(_row(holding).replace(b"%", b"%%") + number + b"}" for holding in account.positions),
        b"]}",
    ]
    return Static(digits, b"".join(parts))


def _row(holding: Holding) -> bytes:
    row = {
        "id": holding.id,
        "symbol": holding.terms.symbol,
        "side": SIDE_NAMES[holding.side],
        "quantity": plain(holding.quantity),
        "price": plain(holding.price),
    }
    return orjson.dumps(row)[:-1] + b',"unrealized_pnl":'


def half_up(values: Floats, digits: Any) -> Floats:
    """Rounded to so many digits after the point, half away from zero, and never minus zero."""
    scale = np.power(10.0, digits)
    rounded: Floats = np.copysign(np.floor(np.abs(values) * scale + (0.5 + NUDGE)) / scale, values) + 0.0
    return rounded


def _text(value: float, digits: int) -> bytes:
    return b'"%.*f"' % (digits, value) if value == value else b"null"


def _price(value: float) -> bytes:
    return b'"%.10g"' % value if math.isfinite(value) else b"null"


_STATES = [state.encode() for state in STATES]
_FLAGS = (b"false", b"true")
_UNKNOWN = re.compile(rb'"-?nan"')


def bodies(book: Book, slots: Ints, statics: Sequence[Static]) -> list[bytes]:
    """Return all of a snapshot but who wrote it and when: it differs when the account has changed."""
    s = book.slots
    digits = np.array([each.places for each in statics])
    equity, used = book.equity(slots), s.used[slots]
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(used > 0, equity / used * 100, np.nan)
    away = [equity - _lines(book, slots, levels) for levels in (s.call, s.stop)]
    prices = [book.prices_at(slots, levels[slots]).tolist() for levels in (s.call, s.stop)]
    figures = [half_up(each, digits) for each in (equity, s.unrealized[slots], used, equity - used)]
    profits, ends = _profits(book, slots, digits)
    rows = zip(
        np.stack(figures, axis=1).tolist(),
        half_up(level, 2).tolist(),
        *(half_up(each, digits).tolist() for each in away),
        *prices,
        s.state[slots].tolist(),
        s.stale[slots].tolist(),
        strict=True,
    )
    out, begin = [], 0
    for static, end, slot, row in zip(statics, ends, slots.tolist(), rows, strict=True):
        four, at, call_away, stop_away, call_price, stop_price, state, stale = row
        known = four[0] + four[2] == four[0] + four[2]
        missing = b"[]" if known else orjson.dumps(book.missing(slot))
        body = static.template % (
            *four,
            *(_text(at, 2), _STATES[state], _FLAGS[stale], missing),
            *(_text(call_away, static.places), _price(call_price)),
            *(_text(stop_away, static.places), _price(stop_price)),
            *profits[begin:end],
        )
        out.append(body if known else _UNKNOWN.sub(b"null", body))
        begin = end
    return out


def _lines(book: Book, slots: Ints, levels: Floats) -> Floats:
    """The equity at which a level is reached; NaN without margin."""
    s = book.slots
    percent = np.where(s.used[slots] > 0, levels[slots] * s.used[slots] / 100, np.nan)
    lines: Floats = np.where(s.in_money[slots], levels[slots], percent)
    return lines


def _profits(book: Book, slots: Ints, digits: Any) -> tuple[list[float], list[int]]:
    """The positions' results, account after account, and where those of each account end."""
    rows, owner = book.rows_of(slots)
    held = ~book.rows.pending[rows]
    counts = np.bincount(owner[held], minlength=len(slots))
    return half_up(book.rows.pnl[rows[held]], digits[owner[held]]).tolist(), np.cumsum(counts).tolist()


def stamped(body: bytes, *, epoch: int, version: int, ts: int, oldest: int) -> bytes:
    """The whole snapshot. Epoch and version stand first: whoever writes compares them."""
    stamp = b'{"epoch":%d,"version":%d,"ts":%d,"oldest_price_ts":%b,'
    return stamp % (epoch, version, ts, b"%d" % oldest if oldest else b"null") + body
