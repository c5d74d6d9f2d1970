"""Frames as compute publishes them, and the messages that views get; junk is refused in whatever shape it comes."""

import json

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocksblitz.delivery.frames import Frame, View, empty_history, snapshot
from stocksblitz.delivery.transports import payload_of
from stocksblitz.redis.decoding import BadData
from tests.delivery.frames import STREAM, frame

VIEW = View({"RSI_14_100": "RSI_14", "SMA_20": "SMA_20"})


def test_a_view_gets_its_ids_under_its_names_and_nothing_else():
    view = View({"RSI_14_100": "RSI_14"})
    message = orjson.loads(payload_of(frame(3, ids=("RSI_14", "SMA_20")).message(view)))
    assert message["type"] == "market_update"
    assert message["indicators"] == {"RSI_14_100": {"ts": 0, "value": 3, "timeframe": "5min", "ready": True}}
    assert not message.keys() & {"prev", "flushed", "base", "reset"}


def test_an_id_without_a_value_yet_is_there_with_null():
    message = orjson.loads(payload_of(frame(3, ts=5).message(View({"SMA_20": "SMA_20"}))))
    assert message["indicators"] == {"SMA_20": {"ts": 5, "value": None, "timeframe": "5min", "ready": False}}


def test_a_view_without_indicators_is_a_whole_message():
    assert orjson.loads(payload_of(frame(1).message(View({}))))["indicators"] == {}


def test_sessions_of_one_view_share_one_encoding():
    view, shown = View({"RSI_14": "RSI_14"}), frame(1)
    assert shown.message(view) is shown.message(view)


def with_changes(changes):
    """Return a good frame with these fields instead; json also writes what orjson cannot encode."""
    return json.dumps({**frame(3, ts=5).data, **changes}).encode()


BAR = frame(1, ts=5).data["ohlcv"]
DEEP = orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": None}, {"epoch": 1}, {"seq": "1"}, {"seq": 1.5}, {"seq": -1}, {"seq": True}, {"seq": 2**60},
        {"symbol": 1}, {"timeframe": None}, {"timestamp": None}, {"prev": "x"}, {"flushed": -1},
        {"ohlcv": []}, {"ohlcv": {}}, {"ohlcv": {**BAR, "ts": 10**15}}, {"ohlcv": {**BAR, "close": "1"}},
        {"ohlcv": {**BAR, "closed": 1}}, {"indicators": None}, {"indicators": []}, {"indicators": {"RSI_14": 5}},
        {"indicators": {"RSI_14": {"value": 1}}}, {"greeks": [DEEP]},
        {"indicators": {"A": {"value": DEEP, "ready": True}}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_frame_of_the_wrong_shape_is_refused(changes):
    with pytest.raises(BadData):
        Frame(with_changes(changes))


@pytest.mark.parametrize("text", [b"", b"poison", b"[]", b"null", b"1", b"\xff\xfe", b"{}", b"[" * 2000])
def test_what_is_no_frame_is_refused(text):
    with pytest.raises(BadData):
        Frame(text)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(sorted({*frame(1).data, "prev", "flushed", "base", "reset"}))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=64) | st.dictionaries(fields, junk, max_size=4).map(with_changes))
def test_whatever_arrives_is_refused_or_can_be_sent(data):
    try:
        decoded = Frame(data)
    except BadData:
        return
    message = orjson.loads(payload_of(decoded.message(VIEW)))
    assert message["seq"] == decoded.seq
    assert message["indicators"].keys() == VIEW.ids.keys()
    assert payload_of(snapshot(decoded, VIEW.ids, empty_history(VIEW.ids)))
    assert decoded.upto >= 0
    assert len(decoded.stream) == len(STREAM)
