"""The strict decoders of single values: a valid value or `BadData`, whatever the bytes."""

import time
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json, decode_ms, decode_number, decode_text

NUMBERS = ["1", "-1", "0", "1.5", "1e400", "-1e400", "nan", "inf", "1e9999999", "9" * 40, "1_000", "0x10", ""]
hostile = st.binary(max_size=80) | st.sampled_from([text.encode() for text in NUMBERS])


@given(hostile)
def test_a_number_is_finite_and_within_its_bounds(raw: bytes) -> None:
    try:
        value = decode_number("bid", raw, -5, 1e12)
    except BadData:
        return
    assert value is None if not raw else isinstance(value, float) and -5 <= value <= 1e12


@given(hostile)
def test_a_time_lies_before_the_year_10000(raw: bytes) -> None:
    try:
        value = decode_ms("ts", raw)
    except BadData:
        return
    assert value is None if not raw else type(value) is int and 0 <= value <= MAX_MS


@given(st.binary(max_size=80))
def test_a_text_is_short_utf8(raw: bytes) -> None:
    try:
        value = decode_text("source", raw, 16)
    except BadData:
        return
    assert value is None if not raw else value is not None and value.encode() == raw and len(raw) <= 16


@given(
    st.binary(max_size=80) | st.text(alphabet='[]{}":,0123456789eE.+-NaInfty', max_size=40).map(str.encode)
)
def test_json_is_parsed_or_refused(raw: bytes) -> None:
    try:
        value = decode_json("greeks", raw)
    except BadData:
        return
    assert not isinstance(value, float) or isfinite(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"9223372036854775808",
        b"1e19",
        b"-1e19",
        b"1e400",
        b"nan",
        b"1e30",
        b"soon",
        b"\xff\xfe\x80",
        b"1e9999999",
    ],
)
def test_times_out_of_reach_are_refused(raw: bytes) -> None:
    with pytest.raises(BadData, match="ts: expected a number"):
        decode_ms("ts", raw)


def test_a_time_may_be_written_as_a_float() -> None:
    assert decode_ms("ts", b"1763634900000.5") == decode_ms("ts", b"1.7636349e12") == 1_763_634_900_000


def test_minus_zero_is_zero() -> None:
    assert str(decode_number("volume", b"-0.0", 0, 1)) == "0.0"


def test_hostile_values_cost_no_time_and_are_shown_cut_short() -> None:
    began = time.perf_counter()
    for raw in (b"9" * 1_000_000, b"1e9999999", b"\xff" * 1_000_000):
        with pytest.raises(BadData) as caught:
            decode_number("bid", raw, 0, 1)
        assert len(str(caught.value)) < 200
    for raw in (b"[" * 1_000_000, b"[" * 60_000, b"[" * 500 + b"]" * 400):
        with pytest.raises(BadData) as caught:
            decode_json("oi", raw)
        assert len(str(caught.value)) < 200
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "value", [[[[[1] * 100] * 100] * 100], {"a": {"b": {"c": 1}}}, 10**400, None, b"\xff"]
)
def test_any_value_can_be_shown(value: object) -> None:
    assert len(str(BadData("field", value, "something else"))) < 200
