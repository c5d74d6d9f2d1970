"""The decoders of the market hash and of the messages that announce it."""

from contextlib import suppress
from math import isfinite

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from stocksblitz.market.core.announcements import (
    BarUpdate,
    decode_bar_update,
    decode_price_update,
    encode_bar_update,
)
from stocksblitz.market.core.bars import MAX_PRICE
from stocksblitz.market.core.market_hash import (
    FeedState,
    MarketPrice,
    decode_feed_state,
    decode_price,
    decode_prices,
)
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.redis.decoding import MAX_MS, BadData

GOOD = [b"1.1", b"1.2", b"1.15", b"10", b"1763634900000", b"1763634930000", b"external"]
WORDS = [
    b"1",
    b"-1",
    b"0",
    b"1e308",
    b"1e400",
    b"nan",
    b"-0.0",
    b"1e-300",
    b"1e9999999",
    b"null",
    b"{}",
    b'{"a":[1]}',
    b"\xff",
]
value = st.none() | st.binary(max_size=40) | st.sampled_from(WORDS)


@given(st.lists(value, min_size=7, max_size=7))
def test_any_bytes_are_a_price_or_bad_data(values: list[bytes | None]) -> None:
    try:
        price = decode_price(values)
    except BadData:
        return
    for number in price[:3]:
        assert number is None or number == 0 or 1e-12 <= abs(number) <= MAX_PRICE
    assert price.volume is None or (isfinite(price.volume) and price.volume >= 0)
    assert all(ms is None or 0 <= ms <= MAX_MS for ms in (price.ts, price.fresh_until))


@given(st.lists(value, min_size=6, max_size=6))
def test_any_bytes_are_a_feeds_state_or_bad_data(values: list[bytes | None]) -> None:
    try:
        state = decode_feed_state(values)
    except BadData:
        return
    orjson.dumps(state._asdict())


@given(value)
def test_any_bytes_are_a_symbol_or_bad_data(data: bytes | None) -> None:
    with suppress(BadData):
        assert is_symbol(decode_price_update(data or b""))


MESSAGES = [
    b'{"symbols":5}',
    b'{"symbols":["A"],"ts":1}',
    b'["A"]',
    b'{"symbols":["a:b"],"ts":1}',
    b"[" * 5000,
    b"NaN",
    b"null",
]


@given(st.binary(max_size=60) | st.sampled_from(MESSAGES))
def test_any_bytes_are_a_bar_update_or_bad_data(data: bytes) -> None:
    try:
        update = decode_bar_update(data)
    except BadData:
        return
    assert all(map(is_symbol, update.symbols))
    assert 0 <= update.ts <= MAX_MS


def test_a_price_comes_back_as_it_was_written() -> None:
    assert decode_price(GOOD) == MarketPrice(
        1.1, 1.2, 1.15, 10.0, 1_763_634_900_000, 1_763_634_930_000, "external"
    )
    assert decode_price([None] * 7) == MarketPrice(*[None] * 7)


@pytest.mark.parametrize(
    "bad", [b"1e400", b"1e308", b"nan", b"-1e13", b"-1e-300", b"1e-300", b"x", b"\xff\xfe\x80"]
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_price_that_nothing_can_be_computed_with_is_refused(bad: bytes, position: int) -> None:
    with pytest.raises(BadData, match=r"^(bid|ask|last): expected "):
        decode_price([*GOOD[:position], bad, *GOOD[position + 1 :]])


def test_one_bad_symbol_leaves_the_others_their_prices() -> None:
    wrong_type = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    late = [*GOOD[:4], b"9223372036854775808", *GOOD[5:]]
    prices, bad = decode_prices([("A", GOOD), ("B", late), ("C", wrong_type), ("D", GOOD)])
    assert list(prices) == ["A", "D"]
    assert {symbol: str(error)[:20] for symbol, error in bad.items()} == {
        "B": "ts: expected a numbe",
        "C": "key: expected a hash",
    }


def test_greeks_and_open_interest_are_flat_objects() -> None:
    greeks = {
        "expiry": "2026-01-01T00:00:00Z",
        "strike": 100.0,
        "call": {"iv": 0.2, "delta": None},
        "put": None,
    }
    values = [b"17", b"simulated", b"5", orjson.dumps(greeks), b"", b"4"]
    assert decode_feed_state(values) == FeedState("17", "simulated", 5, greeks, None, 4)
    for junk in (
        b"junk",
        b"[1]",
        b"5",
        b'{"a":{"b":{"c":1}}}',
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"a":true}',
    ):
        with pytest.raises(BadData, match="greeks: expected"):
            decode_feed_state([b"17", b"simulated", b"5", junk, b"", b""])


def test_a_bar_update_comes_back_as_it_was_sent() -> None:
    assert decode_bar_update(encode_bar_update(["EURUSD", "M&M"], 5)) == BarUpdate(["EURUSD", "M&M"], 5)
