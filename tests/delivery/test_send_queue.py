"""What waits for a slow session: closed frames and replies all, of forming frames the newest."""

from hypothesis import given
from hypothesis import strategies as st

from stocksblitz.delivery.send_queue import Mailbox
from tests.delivery.frames import STREAM, frame


def drained(mailbox):
    items = []
    while (item := mailbox.take()) is not None:
        items.append(item)
    return items


def test_the_newest_forming_frame_wins_and_names_what_it_replaced():
    mailbox = Mailbox()
    for seq in (5, 6, 7):
        mailbox.put_frame(STREAM, frame(seq))
    (item,) = drained(mailbox)
    assert (item.frame.seq, item.skipped_from) == (7, 5)


def test_closed_frames_and_replies_keep_their_order():
    mailbox = Mailbox()
    mailbox.put_frame(STREAM, frame(1))
    mailbox.put(b"reply")
    mailbox.put_frame(STREAM, frame(2, closed=True))
    mailbox.put_frame(STREAM, frame(3, closed=True))
    mailbox.put_frame(STREAM, frame(4))
    assert mailbox.closed == 2
    items = drained(mailbox)
    assert [item.framed or item.frame.seq for item in items] == [b"reply", 2, 3, 4]
    assert items[1].skipped_from == 1
    assert (len(mailbox), mailbox.size, mailbox.closed) == (0, 0, 0)


def test_dropping_a_stream_leaves_the_others():
    mailbox = Mailbox()
    other = ("TCS", "1min")
    mailbox.put_frame(STREAM, frame(1, closed=True))
    mailbox.put_frame(STREAM, frame(2))
    mailbox.put_frame(other, frame(9))
    mailbox.drop_stream(STREAM, keep_closed=True)
    mailbox.drop_stream(other, keep_closed=False)
    assert [item.frame.seq for item in drained(mailbox)] == [1]


def test_a_stalled_session_costs_no_more_as_frames_go_by():
    mailbox = Mailbox()
    for seq in range(10_000):
        mailbox.put_frame(STREAM, frame(seq))
    assert len(mailbox) == 1
    assert len(mailbox._items) < 200
    assert mailbox.size == frame(9_999).size


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(0, 60))
def test_every_frame_is_delivered_or_named_and_every_closed_one_delivered(puts, cut):
    """Per stream: what comes out, with what it says was skipped, is exactly what went in, also in two parts."""
    mailbox, out, seq = Mailbox(), [], dict.fromkeys("abc", 0)
    for place, (name, closed) in enumerate(puts):
        seq[name] += 1
        mailbox.put_frame((name, "1min"), frame(seq[name], closed=closed))
        if place == cut:
            out += drained(mailbox)
    out += drained(mailbox)
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
    mailbox = Mailbox()
    mailbox.put_frame(STREAM, frame(1, closed=True))
    mailbox.put_frame(STREAM, frame(2))
    mailbox.drop_stream(STREAM, keep_closed=True)
    mailbox.drop_stream(STREAM, keep_closed=False)
    assert drained(mailbox) == []
    assert mailbox.size == 0
