"""Whatever bytes stand in Redis, a decoder returns a valid value or raises BadData, and nothing else."""

import contextlib
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicators.engine import formats
from indicators.engine.live_stream import StreamPosition
from indicators.reads import job
from stocksblitz.redis.decoding import BadData

ENTRY = {"ts": 1_700_000_000_000, "value": 1.5, "timeframe": "1min", "ready": True}
JOB = job.Job(
    kind="current",
    symbol="BTCUSD",
    timeframe="1min",
    indicator="RSI_14",
    token="t",
    owner=1,
    ttl=120_000,
    deadline=1_700_000_000_000,
)

DECODERS = {
    "latest": (lambda raw: formats.decode_latest(raw, "1min"), ENTRY),
    "frame": (lambda raw: formats.decode_frame(raw, "1min"), {"indicators": {"RSI_14": ENTRY}}),
    "changes": (formats.decode_subscription_changes, {"add": ["BTCUSD|1min|RSI_14"], "drop": []}),
    "computation": (formats.decode_computation, None),
    "job": (job.Job.decode, orjson.loads(JOB.encode())),
    "result": (job.decode_result, {"key": JOB.key, "value": ENTRY}),
    "stored result": (JOB.cached, ENTRY),
    "position": (StreamPosition.load, None),
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
raw_json = junk.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if fits(value) else b"")


def fits(value):
    """Whether JSON can hold it: orjson refuses larger numbers."""
    try:
        orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True


@pytest.mark.parametrize("name", DECODERS)
@given(raw=st.binary(max_size=80) | raw_json | st.just(b"[" * 5000) | st.just(b'{"a":' * 5000))
def test_any_bytes_are_decoded_or_refused(name, raw):
    decode, _ = DECODERS[name]
    with contextlib.suppress(BadData):
        decode(raw)


@pytest.mark.parametrize("name", [name for name, (_, good) in DECODERS.items() if good])
@given(data=st.data())
def test_one_wrong_part_is_enough(name, data):
    """A good message with one field replaced is decoded to something valid, or refused."""
    decode, good = DECODERS[name]
    decode(orjson.dumps(good))
    spoilt = {**good, data.draw(st.sampled_from([*good, "other"])): data.draw(junk.filter(fits))}
    try:
        decode(orjson.dumps(spoilt))
    except BadData:
        return
    assert spoilt.keys() >= good.keys()


@pytest.mark.parametrize(
    "raw",
    [
        b"junk", b"\xff\xfe\x80", b"", b"null", b"5", b"[1,2]", b"{}", b'{"ts":null}', b'{"ts":1e999,"value":1}',
        b'{"ts":NaN,"value":NaN}', b'{"ts":"x","value":1,"timeframe":"1min","ready":true}', b"[" * 3000,
        b'{"ts":1,"value":1,"timeframe":"5min","ready":true}', b'{"ts":1,"value":"1","timeframe":"1min","ready":true}',
        b'{"ts":1.5,"value":1,"timeframe":"1min","ready":true}', b'{"ts":1,"value":1,"timeframe":"1min","ready":1}',
        b'{"ts":-1,"value":1,"timeframe":"1min","ready":true}',
        b'{"ts":1,"value":{"a":[]},"timeframe":"1min","ready":true}',
    ],
)  # fmt: skip
def test_what_is_no_newest_value_is_refused(raw):
    with pytest.raises(BadData):
        formats.decode_latest(raw, "1min")


@given(st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000))
def test_newest_values_are_read_as_they_were_written(value):
    for found in (value, {"K": value, "D": None}):
        entry = {**ENTRY, "value": found}
        assert formats.decode_latest(orjson.dumps(entry), "1min") == entry


def test_values_are_finite_numbers():
    assert not formats.is_value(math.inf)
    assert not formats.is_value(math.nan)
    assert not formats.is_value(True)
    assert not formats.is_value({"K": {"D": 1.0}})
