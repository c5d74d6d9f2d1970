"""The model behind the isolation audit: it lets through what a session may get, and names everything else."""

import pytest

from bench.load.expected import Expected

PAIR = ("TCS", "1min")
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
    """A session with SMA_20 and RSI_14, whose snapshot was number 7."""
    model = Expected("s", {})
    model.asked[1] = {"type": "subscribe", **STREAM, "indicators": ["RSI_14", "SMA_20"]}
    opening = [connected(), reply("subscribed", 1, "SMA_20", "RSI_14")]
    for message in [*opening, frame(7, "RSI_14", "SMA_20", kind="snapshot")]:
        assert model.check(message) is None
    return model


def test_updates_follow_the_snapshot_and_lagged_names_what_is_missing(model: Expected) -> None:
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
def test_what_it_should_not_get_is_named(model: Expected, message: dict) -> None:
    assert model.check(message)


def test_what_was_unsubscribed_counts_until_the_answer_and_no_longer(model: Expected) -> None:
    model.asked[2] = {"type": "unsubscribe", **STREAM, "indicators": ["RSI_14"]}
    assert model.check(frame(8, "RSI_14", "SMA_20")) is None
    assert model.check(reply("unsubscribed", 2, "SMA_20")) is None
    assert model.check(frame(9, "SMA_20")) is None
    assert model.check(frame(10, "RSI_14", "SMA_20"))
    model.asked[3] = {"type": "unsubscribe", "symbol": "TCS"}
    assert model.check(reply("unsubscribed", 3, timeframe=None)) is None
    assert model.check(frame(11, "SMA_20"))
    assert model.rows == {}


def test_an_update_before_the_snapshot_is_named(model: Expected) -> None:
    model.asked[2] = {"type": "subscribe", **STREAM, "indicators": []}
    assert model.check(reply("subscribed", 2, "RSI_14", "SMA_20")) is None
    assert model.check(frame(8, "RSI_14", "SMA_20"))


def test_who_comes_back_has_what_the_session_had_and_gets_it_once_it_asks() -> None:
    rows = {PAIR: {"RSI_14"}}
    kept = {**STREAM, "indicators": ["RSI_14"]}
    assert Expected("s", rows).check(connected())
    assert Expected("s", rows).check(connected(kept, session_id="other"))
    again = Expected("s", rows)
    assert again.check(connected(kept)) is None
    assert again.check(frame(8, "RSI_14"))
    ended = Expected("s", rows, sure=False)
    assert ended.check(connected()) is None
    assert ended.rows == {}
