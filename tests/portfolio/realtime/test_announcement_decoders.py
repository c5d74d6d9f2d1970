"""Announcements to sockets: what processes send is understood, anything else is BadData."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio.realtime.announcement_decoders import decode_event, decode_updates
from stocksblitz.redis.decoding import BadData

EVENT = {"id": 7, "kind": "restored", "text": "…", "ts": 1}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["accounts", "account", "event"]), inner)
    ),
    max_leaves=6,
)


def test_what_processes_send_is_understood():
    assert decode_updates(b'{"accounts":["live:1"]}') == ["live:1"]
    assert decode_event(orjson.dumps({"account": "live:1", "event": EVENT})) == ("live:1", EVENT)


@pytest.mark.parametrize("decode", [decode_updates, decode_event])
@given(data=st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_no_message_raises_anything_but_bad_data(decode, data):
    with contextlib.suppress(BadData):
        decode(data)


@pytest.mark.parametrize(
    "event", [1, {}, {**EVENT, "id": "7"}, {**EVENT, "type": "error"}, {**EVENT, "ts": None}]
)
def test_an_event_of_another_shape_is_bad_data(event):
    with pytest.raises(BadData):
        decode_event(orjson.dumps({"account": "live:1", "event": event}))
