"""Frames in order go out; gaps, new epochs and late joiners are mended without a closed bar missing or twice."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stocksblitz.delivery.hub.stream import StreamState
from tests.delivery.frames import STREAM, frame, new_connection

IDS = {"RSI_14": "RSI_14"}


def joined(state=None, **options):
    state = state or StreamState(STREAM)
    connection, transport = new_connection(**options)
    state.enter(connection, IDS)
    return state, connection, transport


def kinds(transport):
    return [
        (message["type"], message.get("seq") or (message.get("from_seq"), message.get("to_seq")))
        for message in transport.messages
    ]


def test_frames_in_order_go_out_once():
    state, connection, transport = joined()
    state.take(frame(1))
    for seq in (2, 2, 3, 1):
        state.take(frame(seq))
    connection.flush()
    assert kinds(transport) == [("snapshot", 1), ("market_update", 2), ("market_update", 3)]


def test_who_joined_before_the_first_frame_and_missed_a_bar_comes_back_for_it():
    for upto, closed in ((10, None), (5, 4000)):
        state, _, transport = joined()
        state.known_upto(upto)
        state.take(frame(1, ts=10, closed=True, base=True, prev=5))
        assert transport.closed == closed


def test_a_gap_waits_for_the_log_and_names_what_is_lost():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    assert state.take(frame(5, ts=20, prev=10)) is True
    assert state.take(frame(6, ts=20, prev=10)) is False
    state.repair([frame(0, ts=5, closed=True), frame(3, ts=10, closed=True, prev=5)])
    connection.flush()
    assert kinds(transport)[1:] == [
        ("lagged", (2, 2)), ("market_update", 3), ("lagged", (4, 4)), ("market_update", 5), ("market_update", 6),
    ]  # fmt: skip
    assert [m["ohlcv"]["ts"] for m in transport.messages if m.get("ohlcv", {}).get("closed")] == [10]


def test_a_closed_bar_that_even_the_log_has_not_closes_the_sockets():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    state.take(frame(400, ts=90, prev=80))
    state.repair([frame(399, ts=80, closed=True, prev=70)])
    connection.flush()
    assert transport.closed == 4000


def test_a_new_epoch_begins_with_a_snapshot_after_what_closed_in_the_old_one():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    new = [
        frame(1, ts=10, closed=True, epoch="b", base=True, prev=5),
        frame(2, ts=20, closed=True, epoch="b", prev=10),
    ]
    assert state.take(frame(3, ts=30, epoch="b", prev=20)) is True
    state.repair([frame(2, ts=10, closed=True, prev=5), *new])
    connection.flush()
    assert [
        (m["type"], m["epoch"], m["seq"], m["ohlcv"]["ts"], m["ohlcv"]["closed"])
        for m in transport.messages[1:]
    ] == [
        ("market_update", "a", 2, 10, True),
        ("snapshot", "b", 1, 10, True),
        ("market_update", "b", 2, 20, True),
        ("market_update", "b", 3, 30, False),
    ]


def test_epochs_that_were_missed_whole_lose_no_closed_bar():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    log = [
        frame(2, ts=10, closed=True, prev=5),
        frame(1, ts=10, closed=True, epoch="b", base=True, prev=5),
        frame(2, ts=20, closed=True, epoch="b", prev=10),
        frame(4, ts=30, closed=True, epoch="b", prev=20),
        frame(1, ts=30, closed=True, epoch="c", base=True, prev=20),
        frame(1, ts=30, closed=True, epoch="d", base=True, prev=20),
        frame(2, ts=40, closed=True, epoch="d", prev=30),
    ]
    assert state.take(frame(3, ts=50, epoch="d", prev=40)) is True
    state.repair(log)
    connection.flush()
    assert transport.closed is None
    assert [m["ohlcv"]["ts"] for m in transport.messages if m["type"] == "market_update"] == [
        10,
        20,
        30,
        40,
        50,
    ]
    assert kinds(transport) == [
        ("snapshot", 1), ("market_update", 2), ("snapshot", 1), ("market_update", 2), ("lagged", (3, 3)),
        ("market_update", 4), ("snapshot", 1), ("market_update", 2), ("market_update", 3),
    ]  # fmt: skip


def test_a_past_rewritten_in_an_epoch_that_was_missed_whole_replaces_the_old_one():
    state, connection, transport = joined()
    state.take(frame(1, ts=1_000, prev=900))
    log = [
        frame(2, ts=1_000, closed=True, prev=900),
        frame(1, ts=10, closed=True, epoch="b", base=True, reset=True, prev=5),
        frame(2, ts=20, closed=True, epoch="b", prev=10),
        frame(1, ts=20, closed=True, epoch="c", base=True, prev=10),
    ]
    assert state.take(frame(2, ts=30, epoch="c", prev=20)) is True
    state.repair(log)
    connection.flush()
    assert transport.closed is None
    assert [(m["type"], m["epoch"], m["ohlcv"]["ts"]) for m in transport.messages[1:]] == [
        ("snapshot", "b", 10),
        ("market_update", "b", 20),
        ("snapshot", "c", 30),
    ]


def test_what_was_delivered_before_redis_lost_it_is_not_delivered_again():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    state.take(frame(2, ts=10, closed=True, prev=5))
    state.take(frame(3, ts=20, closed=True, prev=10))
    again = [
        frame(1, ts=5, closed=True, epoch="b", base=True),
        frame(2, ts=10, closed=True, epoch="b", prev=5),
        frame(3, ts=20, closed=True, epoch="b", prev=10),
        frame(4, ts=30, closed=True, epoch="b", prev=20),
    ]
    state.take(again[0])
    for each in again[1:]:
        state.take(each)
    state.repair(again)
    state.take(frame(5, ts=40, epoch="b", prev=30))
    connection.flush()
    assert [(m["type"], m["epoch"], m["seq"], m["ohlcv"]["ts"]) for m in transport.messages[1:]] == [
        ("market_update", "a", 2, 10),
        ("market_update", "a", 3, 20),
        ("snapshot", "b", 3, 20),
        ("market_update", "b", 4, 30),
        ("market_update", "b", 5, 40),
    ]


def test_a_rewritten_past_replaces_the_old_one():
    state, connection, transport = joined()
    state.take(frame(1, ts=1_000, prev=900))
    state.take(frame(1, ts=10, closed=True, epoch="b", base=True, reset=True, prev=5))
    state.repair([frame(2, ts=1_000, closed=True, prev=900)])
    state.take(frame(2, ts=20, epoch="b", prev=10))
    connection.flush()
    assert [(m["type"], m["ohlcv"]["ts"]) for m in transport.messages] == [
        ("snapshot", 1_000), ("snapshot", 10), ("market_update", 20),
    ]  # fmt: skip


def test_a_refreshed_base_is_for_those_who_join_and_goes_to_nobody():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, closed=True, base=True))
    state.take(frame(1, ts=10, closed=True, base=True, ids=("RSI_14", "SMA_20")))
    connection.flush()
    assert kinds(transport) == [("snapshot", 1)]
    assert "SMA_20" in state.newest.data["indicators"]


def test_a_refreshed_base_of_a_bar_that_was_lost_brings_the_bar_from_the_log():
    state, connection, transport = joined()
    state.take(frame(1, ts=20, prev=10))
    closed = frame(2, ts=20, closed=True, prev=10)
    refreshed = frame(2, ts=20, closed=True, base=True, prev=10, ids=("RSI_14", "SMA_20"))
    assert state.take(refreshed) is True
    state.repair([closed])
    state.take(frame(3, ts=30, prev=20))
    connection.flush()
    assert kinds(transport) == [("snapshot", 1), ("market_update", 2), ("market_update", 3)]
    assert transport.closed is None


def test_a_refreshed_base_that_waited_for_the_log_is_not_lost():
    state, _, _ = joined()
    state.take(frame(1, ts=10, prev=5))
    assert state.take(frame(3, ts=10, closed=True, prev=5)) is True
    state.take(frame(3, ts=10, closed=True, base=True, prev=5, ids=("RSI_14", "SMA_20")))
    state.repair([frame(3, ts=10, closed=True, prev=5)])
    assert "SMA_20" in state.newest.data["indicators"]


def test_closed_frames_that_are_kept_let_go_of_what_was_encoded():
    state, connection, transport = joined()
    state.take(frame(1, ts=10, prev=5))
    state.take(frame(2, ts=10, closed=True, prev=5))
    assert [each._encoded for each in state.recent] == [{}]
    connection.flush()
    assert kinds(transport)[-1] == ("market_update", 2)


def test_a_slow_client_gets_lagged_then_the_newest_with_the_view_it_has_then():
    state, connection, transport = joined()
    state.take(frame(1))
    transport.blocked = True
    connection.flush()
    for seq in (2, 3, 4):
        state.take(frame(seq, ids=("RSI_14", "SMA_20")))
    assert connection.slow
    state.enter(connection, {"SMA_20": "SMA_20"})
    transport.blocked = False
    connection.resume()
    assert kinds(transport) == [("snapshot", 1), ("lagged", (2, 3)), ("market_update", 4)]
    assert list(transport.messages[-1]["indicators"]) == ["SMA_20"]


def test_a_client_whose_backlog_outgrows_its_bound_is_closed_as_too_slow():
    state, connection, transport = joined(max_backlog=5_000)
    state.take(frame(1))
    transport.blocked = True
    connection.flush()
    for seq in range(2, 40):
        state.take(frame(seq, ts=seq, closed=True, prev=seq - 1 if seq > 2 else 0))
    assert transport.closed == 4008
    assert connection.backlog == 0


def test_what_its_socket_has_not_taken_counts_for_the_bound_of_a_session():
    state, connection, transport = joined(max_backlog=100_000)
    state.take(frame(1))
    transport.blocked, transport.waiting = True, 20_000
    connection.flush()
    state.take(frame(2, ts=2, closed=True))
    assert not connection.far_behind
    transport.waiting = 30_000
    assert connection.far_behind
    transport.waiting = 100_000
    state.take(frame(3, ts=3, closed=True, prev=2))
    assert transport.closed == 4008


@settings(deadline=None)
@given(st.data())
def test_whatever_pubsub_loses_closed_bars_come_exactly_once_in_order(data):
    """A stream of closed and forming frames over several epochs, of which any may be lost on the way; the log has all
    closed ones. Seen from the connection: within an epoch seq grows by one, or `lagged` names what is missing."""
    state, connection, transport = joined(max_backlog=10**9)
    log, closed_ts, ts = [], [], 0
    epochs = "abcd"[: data.draw(st.integers(1, 4))]
    for epoch in epochs:
        seq = 1
        base = frame(1, ts=ts, closed=True, epoch=epoch, base=True, prev=max(0, ts - 1))
        log.append(base)
        sent = [base]
        for closes in data.draw(st.lists(st.booleans(), min_size=1, max_size=8)):
            seq += 1
            if closes:
                ts += 1
                closed_ts.append(ts)
                log.append(frame(seq, ts=ts, closed=True, epoch=epoch, prev=ts - 1))
                sent.append(log[-1])
            else:
                sent.append(frame(seq, ts=ts + 1, epoch=epoch, prev=ts))
        sent.append(frame(seq + 1, ts=ts + 1, epoch=epoch, prev=ts))
        first = epoch == "a"
        for place, each in enumerate(sent):
            last = epoch == epochs[-1] and place == len(sent) - 1
            arrives = (first and place == 0) or last or data.draw(st.booleans())
            if arrives and state.take(each):
                state.repair([each for each in log if (each.epoch, each.seq) <= (epoch, sent[place].seq)])
    connection.flush()
    got = [
        m["ohlcv"]["ts"] for m in transport.messages if m["type"] == "market_update" and m["ohlcv"]["closed"]
    ]
    assert got == closed_ts
    at = None
    for message in transport.messages:
        if message["type"] == "snapshot":
            at = (message["epoch"], message["seq"])
        elif message["type"] == "lagged":
            assert message["from_seq"] == at[1] + 1
            at = (at[0], message["to_seq"])
        else:
            assert (message["epoch"], message["seq"]) == (at[0], at[1] + 1)
            at = (message["epoch"], message["seq"])
