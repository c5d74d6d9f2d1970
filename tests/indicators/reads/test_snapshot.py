"""The history of a snapshot reaches up to its bar, whatever closes while it is read; else it is refused."""

import orjson
import pytest

from indicators.reads.snapshot import SnapshotHistory, fit_snapshot, read_closed_bars, with_recent
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.hub.stream import StreamState
from tests.delivery.frames import STREAM, frame

MINUTE = 60_000
T0 = 1_700_000_000_000 // MINUTE * MINUTE


def at(n):
    return T0 + n * MINUTE


def closed(n, **options):
    return frame(n, ts=at(n), closed=True, prev=at(n - 1), **options)


@pytest.fixture
def stored(redis, keys):
    """Writes closed bars into the hot store."""

    def store(numbers):
        rows = {orjson.dumps([at(n), 1.0, 2.0, 0.5, 1.5, 10.0, T0]): at(n) for n in numbers}
        redis.zadd(keys.bars(*STREAM), rows)

    return store


def times(closed_bars):
    return [(bar[0] - T0) // MINUTE for bar in closed_bars.bars]


async def test_bars_that_closed_during_the_read_are_added(stored):
    stored(range(10))
    state = StreamState(STREAM)
    state.take(closed(8))
    for n in (9, 10, 11):
        state.take(closed(n))
    state.take(frame(12, ts=at(12), prev=at(11)))
    assert times(await read_closed_bars(state, STREAM, {}, 5, None, user_id=1)) == [7, 8, 9, 10, 11]
    assert times(await read_closed_bars(state, STREAM, {}, None, at(8), user_id=1)) == [9, 10, 11]


async def test_a_history_with_a_hole_is_never_shown(stored):
    """So many bars closed meanwhile that the stream remembers only the later ones."""
    stored(range(10))
    state = StreamState(STREAM)
    for n in range(20, 23):
        state.take(closed(n))
    for asked in ((5, None), (None, at(8))):
        with pytest.raises(StocksBlitzError) as refused:
            await read_closed_bars(state, STREAM, {}, *asked, user_id=1)
        assert refused.value.code == "unavailable"
        assert refused.value.retryable
    stored(range(10, 22))
    assert times(await read_closed_bars(state, STREAM, {}, 3, None, user_id=1)) == [19, 20, 21]


def test_only_what_follows_is_added():
    closed_bars = SnapshotHistory([[at(1), 1.0, 2.0, 0.5, 1.5, 10.0]], {"RSI_14": [50.0]}, complete=True)
    assert times(with_recent(closed_bars, [closed(1), closed(2), closed(3)])) == [1, 2, 3]
    assert times(with_recent(closed_bars, [closed(2), closed(5)])) == [1, 2]
    assert times(with_recent(closed_bars, [closed(3)])) == [1]
    assert with_recent(closed_bars, [closed(2)]).values == {"RSI_14": [50.0, 2]}


def test_a_snapshot_that_is_too_large_has_the_newest_bars():
    """A session's memory is bounded, also for one whose values have many parts."""
    bars = [[at(n), 1.0 / 3, 2.0 / 3, 0.5 / 3, 1.5 / 3, 10.0 / 3] for n in range(3_000)]
    parts = dict.fromkeys(("BBL", "BBM", "BBU", "BBB", "BBP"), 1.0 / 3)
    closed_bars, ids = (
        SnapshotHistory(bars, {"BBANDS_20_2": [parts] * 3_000}, complete=True),
        {"mine": "BBANDS_20_2"},
    )
    newest = frame(9, ts=at(3_000), prev=at(2_999))

    def history(most):
        framed = fit_snapshot(closed_bars, newest, ids, most)
        assert len(framed) <= most
        return orjson.loads(framed[framed.index(b"{") :])["history"]

    whole, part = history(10_000_000), history(100_000)
    assert (len(whole["bars"]), whole["complete"]) == (3_000, True)
    assert 300 < len(part["bars"]) < 3_000
    assert (part["bars"][-1], part["complete"]) == (bars[-1], False)
    assert len(part["indicators"]["mine"]) == len(part["bars"])
    assert len(history(1_000)["bars"]) < 5
