"""Messages as connections send them, and frames as they get them."""

import orjson
import pytest

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.transports import payload_of


def refused(text, known=wire.INDICATOR_MESSAGES):
    with pytest.raises(StocksBlitzError) as caught:
        wire.parse(text, known)
    return caught.value


@pytest.mark.parametrize("text", ["", "{", "nan", '{"type":"list"}}', b"\xff\xfe"])
def test_what_does_not_parse_is_invalid_json(text):
    assert refused(text).code == "invalid_json"


@pytest.mark.parametrize(
    "text", ["[]", "1", "null", '"subscribe"', "{}", '{"type":1}', '{"type":"list","id":[]}']
)
def test_what_is_no_message_is_invalid(text):
    assert refused(text).code == "invalid_message"


def test_unknown_fields_and_types_are_refused_with_the_id_of_the_request():
    error = refused('{"type":"list","id":7,"extra":1}')
    assert (error.code, error.request_id) == ("invalid_message", 7)
    error = refused('{"type":"shout","id":"x"}')
    assert (error.code, error.request_id) == ("unknown_type", "x")


@pytest.mark.parametrize(
    "text", ["1", "-7", "9007199254740993", "-9223372036854775808", "18446744073709551615", '"a"', "null"]
)
def test_an_id_comes_back_as_it_was_sent(text):
    request = wire.parse(f'{{"type":"list","id":{text}}}', wire.INDICATOR_MESSAGES)
    assert orjson.dumps(request.id) == text.encode()


@pytest.mark.parametrize(
    "text", ["18446744073709551616", "-9223372036854775809", "1.5", "1e3", "true", "[]", f'"{"x" * 129}"']
)
@pytest.mark.parametrize("kind", ["list", "nonsense"])
def test_an_id_that_could_not_come_back_is_refused(kind, text):
    error = refused(f'{{"type":"{kind}","id":{text}}}')
    assert (error.code, getattr(error, "request_id", None)) == ("invalid_message", None)


def test_the_seeds_ping_is_understood():
    request = wire.parse('{"action":"ping","subscriptions":[]}', wire.INDICATOR_MESSAGES)
    assert (request.type, request.body) == ("ping", {"subscriptions": []})


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_a_text_frame_is_read_back_by_an_independent_parser(size):
    from websockets.client import ClientProtocol
    from websockets.frames import Frame, Opcode
    from websockets.protocol import State
    from websockets.uri import parse_uri

    peer = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    peer.receive_data(wire.text_frame(b"x" * size))
    (event,) = peer.events_received()
    assert event == Frame(Opcode.TEXT, b"x" * size)
    assert payload_of(wire.text_frame(b"x" * size)) == "x" * size


def test_numbers_that_json_does_not_know_become_null():
    assert wire.encode({"a": float("nan"), "b": float("inf")}) == b'{"a":null,"b":null}'
