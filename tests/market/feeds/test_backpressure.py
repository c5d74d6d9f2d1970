"""How far a replay may run ahead."""

from stocksblitz.market.feeds.replay.backpressure import FREE, Readers

CLOSED = {"1min": list(range(100)), "5min": list(range(0, 100, 5))}


def test_nobody_holds_a_replay_back_that_nobody_reads():
    assert Readers(10).allowance(set(), {"1min": 3}, CLOSED) == FREE


def test_the_slowest_stream_decides():
    readers = Readers(30)
    readers.resume({"1min": 89, "5min": 50})
    assert readers.allowance({"1min", "5min"}, {"1min": 89, "5min": 50}, CLOSED) == 20
    assert readers.allowance({"1min", "5min"}, {"1min": 89, "5min": 0}, CLOSED) == 11


def test_a_stream_counts_from_when_it_was_first_wanted():
    readers = Readers(30)
    assert readers.allowance({"1min"}, {}, CLOSED) == 30
    longer = {"1min": list(range(120))}
    assert readers.allowance({"1min"}, {}, longer) == 10
    assert readers.allowance({"1min"}, {"1min": 115}, longer) == 26
    assert readers.allowance(set(), {}, longer) == FREE
    assert readers.allowance({"1min"}, {"1min": 3}, longer) == 30  # wanted anew: the old position is history


def test_it_never_runs_ahead_of_the_limit():
    readers = Readers(30)
    readers.resume({"1min": 10})
    assert readers.allowance({"1min"}, {"1min": 10}, CLOSED) == 0


def test_a_position_from_before_a_loop_does_not_count():
    readers = Readers(30)
    begun = {"1min": list(range(40))}
    assert readers.allowance({"1min"}, {"1min": 99}, {"1min": []}) == 30
    assert readers.allowance({"1min"}, {"1min": 99}, begun) == 0
    assert readers.allowance({"1min"}, {"1min": 39}, begun) == 30


def test_a_round_is_read_when_every_wanted_stream_is_at_its_end():
    readers = Readers(30)
    assert not readers.caught_up({"1min"}, {"1min": 98}, CLOSED)
    assert readers.caught_up({"1min"}, {"1min": 99}, CLOSED)
    assert not readers.caught_up({"1min", "5min"}, {"1min": 99}, CLOSED)
    assert readers.caught_up(set(), {}, CLOSED)
