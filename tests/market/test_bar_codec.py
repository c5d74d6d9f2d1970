"""The codec of stored and forming bars."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from stocksblitz.market.core.bars import Bar, fault
from stocksblitz.market.store.bar_codec import (
    FormingBar,
    decode_bar,
    decode_bars,
    decode_forming,
    encode_bar,
    encode_forming,
)
from stocksblitz.redis.decoding import MAX_MS, BadData

BAR = Bar(1_763_634_900_000, 1.1, 1.3, 1.0, 1.2, 7.0, 1_763_600_000_000)
JUNK = [
    b"junk",
    b"\xff\xfe\x80",
    b"[]",
    b"[1,2]",
    b"{}",
    b"null",
    b"[" * 5000,
    b'["a","b","c","d","e","f","g"]',
    b"[null,null,null,null,null,null,null]",
    b"[true,1,1,1,1,1,1]",
    b"[NaN,1,1,1,1,1,1]",
    b"[1,1e400,1,1,1,1,1]",
    b"[1,1e308,1e308,1e308,1e308,1,1]",
    b"[1.5,1,1,1,1,1,1]",
    b"[9223372036854775808,1,1,1,1,1,1]",
    b"[-1,1,1,1,1,1,1]",
    b"[1,1,1,1,1,-1,1]",
    b"[1,2,1,1,2,1,1]",
    b"[1,0,1,0,1,1,1]",
]
number = st.integers(-(2**70), 2**70) | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
rows = st.lists(number, max_size=9).map(lambda row: repr(row).replace("'", '"').encode())


@given(st.binary(max_size=60) | st.sampled_from(JUNK) | rows)
def test_any_bytes_are_a_bar_or_bad_data(raw: bytes) -> None:
    try:
        bar = decode_bar(raw)
    except BadData:
        return
    assert fault(bar) is None
    assert 0 <= bar.ts <= MAX_MS


@given(st.binary(max_size=60) | st.sampled_from(JUNK) | rows)
def test_any_bytes_are_a_forming_bar_or_bad_data(raw: bytes) -> None:
    try:
        forming = decode_forming(raw)
    except BadData:
        return
    assert forming is None if not raw else forming is not None and fault(forming.bar) is None


@pytest.mark.parametrize("raw", JUNK)
def test_junk_is_bad_data(raw: bytes) -> None:
    with pytest.raises(BadData, match="bar"):
        decode_bar(raw)


def test_bars_come_back_as_they_were_written() -> None:
    assert decode_bar(encode_bar(BAR)) == BAR
    assert decode_forming(encode_forming(BAR, 5)) == FormingBar(BAR, 5)
    assert decode_forming(b"") is decode_forming(None) is None


def test_whole_prices_become_floats() -> None:
    bar = decode_bar(orjson.dumps([60_000, 1, 2, 1, 2, 3, 0]))
    assert list(map(type, bar)) == [int, float, float, float, float, float, int]


def test_junk_among_bars_costs_only_itself() -> None:
    later = BAR._replace(ts=BAR.ts + 60_000)
    bars, bad = decode_bars([encode_bar(BAR), *JUNK, encode_bar(later)])
    assert bars == [BAR, later]
    assert len(bad) == len(JUNK)


def test_a_key_of_another_type_has_no_bars() -> None:
    bars, bad = decode_bars(
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    )
    assert bars == []
    assert "expected a sorted set, got 'WRONGTYPE" in str(bad[0])
