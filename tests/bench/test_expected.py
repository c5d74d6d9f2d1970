"""Test the model behind the isolation audit: it accepts every message that a session may receive, and no other one."""

import pytest

from bench.load.expected import Expected

KEY = ("TCS", "1min")
STREAM = {"symbol": "TCS", "timeframe": "1min"}


def frame(seq: int, *ids: str, kind: str = "market_update", epoch: str = "a", **stream: str) -> dict:
    history = {"history": {"indicators": dict.fromkeys(ids)}} if kind == "snapshot" else {}
    values = dict.fromkeys(ids)
    return {"type": kind, **STREAM, **stream, "epoch": epoch, "seq": seq, "indicators": values, **history}


def reply(kind: str, number: int, *ids: str, **stream: str | None) -> dict:
    return {"type": kind, "id": number, "ws_conn_id": "w", **STREAM, **stream, "indicators": list(ids)}


def connected(*retained: dict, session_id: str = "s") -> dict:
    return {
        "type": "connected",
        "session_id": session_id,
        "ws_conn_id": "w",
        "retained": list(retained),
    }


@pytest.fixture
def model() -> Expected:
    """Return the model of a session with SMA_20 and RSI_14 that has received the snapshot with sequence number 7."""
    model = Expected("s", {})
    model.requests[1] = {"type": "subscribe", **STREAM, "indicators": ["RSI_14", "SMA_20"]}
    opening = [connected(), reply("subscribed", 1, "SMA_20", "RSI_14")]
    for message in [*opening, frame(7, "RSI_14", "SMA_20", kind="snapshot")]:
        assert model.check(message) is None
    return model


def test_updates_follow_the_snapshot_and_lagged_names_the_missing_ones(model: Expected) -> None:
    assert model.check(frame(8, "SMA_20", "RSI_14")) is None
    assert model.check({"type": "lagged", **STREAM, "from_seq": 9, "to_seq": 11}) is None
    assert model.check(frame(12, "RSI_14", "SMA_20")) is None
    assert model.check(frame(1, "RSI_14", "SMA_20", kind="snapshot", epoch="b")) is None
    assert model.check(frame(2, "RSI_14", "SMA_20", epoch="b")) is None


@pytest.mark.parametrize(
    "message",
    [
        frame(8, "RSI_14"),
        frame(8, "RSI_14", "SMA_20", "EMA_9"),
        frame(8, "RSI_14", "SMA_20", symbol="INFY"),
        frame(7, "RSI_14", "SMA_20"),
        frame(9, "RSI_14", "SMA_20"),
        frame(8, "RSI_14", "SMA_20", epoch="b"),
        frame(8, "RSI_14", "SMA_20", kind="snapshot"),
        frame(1, "RSI_14", kind="snapshot", epoch="b"),
        {"type": "lagged", **STREAM, "from_seq": 9, "to_seq": 9},
        reply("subscribed", 1, "RSI_14", "SMA_20"),
        reply("unsubscribed", 2),
        {"type": "subscriptions", "id": 2, "subscriptions": []},
        {"type": "error", "id": None, "code": "unavailable"},
    ],
    ids=lambda message: f"{message['type']} {message.get('seq', '')}",
)
def test_a_message_that_the_session_must_not_receive_is_reported(model: Expected, message: dict) -> None:
    assert model.check(message)


def test_an_indicator_is_delivered_until_the_reply_to_its_unsubscribe_request(model: Expected) -> None:
    model.requests[2] = {"type": "unsubscribe", **STREAM, "indicators": ["RSI_14"]}
    assert model.check(frame(8, "RSI_14", "SMA_20")) is None
    assert model.check(reply("unsubscribed", 2, "SMA_20")) is None
    assert model.check(frame(9, "SMA_20")) is None
    assert model.check(frame(10, "RSI_14", "SMA_20"))
    model.requests[3] = {"type": "unsubscribe", "symbol": "TCS"}
    assert model.check(reply("unsubscribed", 3, timeframe=None)) is None
    assert model.check(frame(11, "SMA_20"))
    assert model.subscribed == {}


def test_an_update_before_the_snapshot_is_reported(model: Expected) -> None:
    model.requests[2] = {"type": "subscribe", **STREAM, "indicators": []}
    assert model.check(reply("subscribed", 2, "RSI_14", "SMA_20")) is None
    assert model.check(frame(8, "RSI_14", "SMA_20"))


def test_a_reconnected_session_keeps_its_subscriptions_and_receives_frames_once_it_subscribes_again() -> None:
    subscribed = {KEY: {"RSI_14"}}
    kept = {**STREAM, "indicators": ["RSI_14"]}
    assert Expected("s", subscribed).check(connected())
    assert Expected("s", subscribed).check(connected(kept, session_id="other"))
    reconnected = Expected("s", subscribed)
    assert reconnected.check(connected(kept)) is None
    assert reconnected.check(frame(8, "RSI_14"))
    expired = Expected("s", subscribed, retained=False)
    assert expired.check(connected()) is None
    assert expired.subscribed == {}
