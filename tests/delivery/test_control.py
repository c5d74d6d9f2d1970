"""Control messages: what they may say, and that anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksblitz.delivery.control import ControlMessage, decode_control
from stocksblitz.redis.decoding import BadData


@pytest.mark.parametrize(
    "message",
    [
        ControlMessage(action="verify"),
        ControlMessage(action="close", session_key="1:a", ws_conn_id="ws_1", code=4510),
        ControlMessage(action="resync", session_key="1:a", except_conn="ws_1"),
        ControlMessage(action="close", user_id=1, login_id="l", session_id="a"),
    ],
)
def test_a_message_is_read_as_it_was_written(message):
    assert decode_control(message.encode()) == message


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"x", b"[]", b"null", b"{}", b'{"action":"stop"}', b'{"action":["close"]}', b'{"action":"close","code":1}',
        b'{"action":"close","code":"4508"}', b'{"action":"close","code":[]}', b'{"action":"close","user_id":true}',
        b'{"action":"close","user_id":"1"}', b'{"action":"close","session_key":1}', b'{"action":"close","reason":"x"}',
        b'{"action":"verify","x":' + b"1" * 5000 + b"}",
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw):
    with pytest.raises(BadData):
        decode_control(raw)


@given(st.binary(max_size=64))
def test_bytes_cost_nothing_but_themselves(raw):
    with pytest.raises(BadData):
        decode_control(raw)
