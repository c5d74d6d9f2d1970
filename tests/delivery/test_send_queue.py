"""What waits for a slow session: closed frames and replies all, of forming frames the newest."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from stocksblitz.delivery.send_queue import SendQueue
from tests.delivery.frames import STREAM, frame


def drained(queue):
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def test_the_newest_forming_frame_wins_and_names_what_it_replaced():
    queue = SendQueue()
    for seq in (5, 6, 7):
        queue.put_frame(STREAM, frame(seq))
    (item,) = drained(queue)
    assert (item.frame.seq, item.skipped_from) == (7, 5)


def test_closed_frames_and_replies_keep_their_order():
    queue = SendQueue()
    queue.put_frame(STREAM, frame(1))
    queue.put(b"reply")
    queue.put_frame(STREAM, frame(2, closed=True))
    queue.put_frame(STREAM, frame(3, closed=True))
    queue.put_frame(STREAM, frame(4))
    assert queue.closed == 2
    items = drained(queue)
    assert [item.framed or item.frame.seq for item in items] == [b"reply", 2, 3, 4]
    assert items[1].skipped_from == 1
    assert (len(queue), queue.size, queue.closed) == (0, 0, 0)


def test_dropping_a_stream_leaves_the_others():
    queue = SendQueue()
    other = ("TCS", "1min")
    queue.put_frame(STREAM, frame(1, closed=True))
    queue.put_frame(STREAM, frame(2))
    queue.put_frame(other, frame(9))
    queue.drop_stream(STREAM, keep_closed=True)
    queue.drop_stream(other, keep_closed=False)
    assert [item.frame.seq for item in drained(queue)] == [1]


def test_a_stalled_session_costs_no_more_as_frames_go_by():
    queue = SendQueue()
    tracemalloc.start()
    try:
        for seq in range(10_000):
            queue.put_frame(STREAM, frame(seq))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(queue) == 1
    assert kept < 200_000  # a hundred frames, of ten thousand
    assert queue.size == frame(9_999).size


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(0, 60))
def test_every_frame_is_delivered_or_named_and_every_closed_one_delivered(puts, cut):
    """Per stream: what comes out, with what it says was skipped, is exactly what went in, also in two parts."""
    queue, out, seq = SendQueue(), [], dict.fromkeys("abc", 0)
    for place, (name, closed) in enumerate(puts):
        seq[name] += 1
        queue.put_frame((name, "1min"), frame(seq[name], closed=closed))
        if place == cut:
            out += drained(queue)
    out += drained(queue)
    for name in "abc":
        expected = 1
        closed = set(range(1, seq[name] + 1))
        for item in out:
            if item.stream != (name, "1min"):
                continue
            first = item.skipped_from or item.frame.seq
            assert first == expected
            expected = item.frame.seq + 1
            closed.discard(item.frame.seq)
        assert expected == seq[name] + 1
        order = [closed_flag for each, closed_flag in puts if each == name]
        assert not [n for n in closed if order[n - 1]]


def test_closed_frames_that_a_snapshot_left_go_with_their_stream():
    queue = SendQueue()
    queue.put_frame(STREAM, frame(1, closed=True))
    queue.put_frame(STREAM, frame(2))
    queue.drop_stream(STREAM, keep_closed=True)
    queue.drop_stream(STREAM, keep_closed=False)
    assert drained(queue) == []
    assert queue.size == 0
