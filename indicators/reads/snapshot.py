"""How a session joins a stream without a gap and without a duplicate: reply, snapshot and new view in one step.

Before that step frames are sent under the session's old view, after it under the new one. The first frame and the
history are waited for before it.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from indicators.engine.spec import parse
from indicators.reads import cache
from indicators.reads.blank_frame import add_reads, blank_frame
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.frames import Frame, snapshot
from stocksblitz.delivery.hub import Hub
from stocksblitz.delivery.hub.stream import StreamState
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.redis.client import current_keys, each_answer

log = logging.getLogger(__name__)

VALUES_WAIT_S = 1.5
"""How long a snapshot waits for the first values of an indicator that nobody had before; then it says null."""
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class SnapshotHistory:
    """Closed bars, oldest first, and for each canonical id a value per bar."""

    bars: list[list[float]]
    values: dict[str, list[Any]]
    complete: bool

    @property
    def last_ts(self) -> int:
        return int(self.bars[-1][0]) if self.bars else 0


EMPTY = SnapshotHistory([], {}, complete=True)


def canonical_ids(asked: list[str]) -> dict[str, str]:
    """Return the ids that a session uses, each with the id that it is computed under."""
    return {indicator: parse(indicator).id for indicator in asked}


def check_history(history: int | None, indicators: int) -> None:
    """Refuse a snapshot that would be too large."""
    cells = (history or 0) * (1 + indicators)
    if cells > settings.SNAPSHOT_CELLS:
        raise StocksBlitzError(
            "limit_exceeded",
            f"history x (1 + indicators) is at most {settings.SNAPSHOT_CELLS}, and this is {cells}; "
            "ask for fewer bars, or read them from GET /indicators/{symbol}/history",
        )


async def join(
    hub: Hub,
    client: Connection,
    stream: Stream,
    ids: dict[str, str],
    *,
    history: int | None = None,
    since_bar: int | None = None,
    reply: dict[str, Any] | None = None,
) -> None:
    """Enter the stream with exactly these ids; write ``reply`` (if any) and the snapshot before its first frame."""
    async with hub.opened(stream) as state:
        blank = await read_blank_frame(hub, stream) if state.newest is None else None
        if blank is None or blank.ts:  # else there is no bar yet that could have values
            await hub.values(state, set(ids.values()), VALUES_WAIT_S)
        closed = await read_closed_bars(state, stream, ids, history, since_bar, user_id=client.user_id)
        frame = state.newest or blank
        assert frame is not None
        hub.enter(client, stream, ids)
        state.known_upto(frame.upto)
        if reply is not None:
            client.reply(reply)
        client.send(fit_snapshot(closed, frame, ids, settings.WS_MAILBOX_BYTES * 3 // 4))


async def read_closed_bars(
    state: StreamState,
    stream: Stream,
    ids: dict[str, str],
    history: int | None,
    since_bar: int | None,
    *,
    user_id: int,
) -> SnapshotHistory:
    """Return the closed bars asked for, up to the one right before the newest frame's bar.

    StocksBlitzError ``unavailable`` when the market closes bars faster than they can be read.
    """
    if not history and since_bar is None:
        return EMPTY
    limit = history or max(1, settings.SNAPSHOT_CELLS // (1 + len(ids)))
    for _ in range(ATTEMPTS):
        closed = await _fetch(stream, set(ids.values()), limit, user_id)
        closed = before_frame(with_recent(closed, state.recent), state.newest)
        if state.newest is None or not state.newest.prev or closed.last_ts == state.newest.prev:
            return trim(closed, history, since_bar)
        # A bar closed meanwhile of which only the opening time is known: read once more.
    raise StocksBlitzError(
        "unavailable", f"bars of {' '.join(stream)} close faster than they are read: subscribe again"
    )


async def _fetch(stream: Stream, canonical: set[str], limit: int, user_id: int) -> SnapshotHistory:
    # One bar more: the newest closed bar may turn out to be the snapshot's own.
    try:
        answer = await cache.history(*stream, sorted(canonical), user_id=user_id, limit=limit + 1)
        return SnapshotHistory(answer["bars"], answer["indicators"], answer["complete"])
    except StocksBlitzError as error:
        if error.code != "unavailable" or not canonical:
            raise
        answer = await cache.history(*stream, [], user_id=user_id, limit=limit + 1)
        nothing: list[Any] = [None] * len(answer["bars"])
        return SnapshotHistory(answer["bars"], dict.fromkeys(canonical, nothing), complete=False)


def with_recent(closed: SnapshotHistory, recent: Any) -> SnapshotHistory:
    """Add the bars whose closed frames came in after the read, as far as each follows the one before it."""
    fresh: list[Frame] = []
    last_ts = closed.last_ts
    for frame in recent:
        if frame.prev == last_ts:
            fresh.append(frame)
            last_ts = frame.ts
    if not fresh or not closed.bars:
        return closed
    bars = closed.bars + [
        [frame.ts, *(frame.data["ohlcv"][part] for part in ("open", "high", "low", "close", "volume"))]
        for frame in fresh
    ]
    values = {id: known + [value_in(frame, id) for frame in fresh] for id, known in closed.values.items()}
    return SnapshotHistory(bars, values, closed.complete)


def value_in(frame: Frame, canonical: str) -> Any:
    entry = frame.data["indicators"].get(canonical)
    return entry["value"] if entry and entry["ready"] else None


def before_frame(closed: SnapshotHistory, newest: Frame | None) -> SnapshotHistory:
    """Return only the bars before the frame's own."""
    if newest is None or closed.last_ts < newest.ts:
        return closed
    keep = sum(1 for bar in closed.bars if bar[0] < newest.ts)
    return SnapshotHistory(
        closed.bars[:keep], {id: known[:keep] for id, known in closed.values.items()}, closed.complete
    )


def trim(closed: SnapshotHistory, history: int | None, since_bar: int | None) -> SnapshotHistory:
    """Return as many bars as were asked for; ``complete`` tells whether that is all of them."""
    if since_bar is not None:
        keep = sum(1 for bar in closed.bars if bar[0] > since_bar)
        complete = keep < len(closed.bars) or closed.complete
    else:
        keep = min(history or 0, len(closed.bars))
        complete = keep == history or closed.complete
    start = len(closed.bars) - keep
    return SnapshotHistory(
        closed.bars[start:], {id: known[start:] for id, known in closed.values.items()}, complete
    )


def fit_snapshot(closed: SnapshotHistory, frame: Frame, ids: dict[str, str], most: int) -> bytes:
    """Return the framed snapshot with as many of the newest bars as fit into so many bytes: memory is bounded."""
    framed = snapshot(frame, ids, history_part(closed, frame, ids))
    while len(framed) > most and closed.bars:
        keep = min(len(closed.bars) - 1, int(0.95 * len(closed.bars) * most / len(framed)))
        start = len(closed.bars) - keep
        values = {id: known[start:] for id, known in closed.values.items()}
        closed = SnapshotHistory(closed.bars[start:], values, complete=False)
        framed = snapshot(frame, ids, history_part(closed, frame, ids))
    return framed


def history_part(closed: SnapshotHistory, frame: Frame, ids: dict[str, str]) -> dict[str, Any]:
    closed = before_frame(closed, frame)
    nothing: list[Any] = [None] * len(closed.bars)
    return {
        "bars": closed.bars,
        "indicators": {asked: closed.values.get(canonical, nothing) for asked, canonical in ids.items()},
        "complete": closed.complete,
    }


async def read_blank_frame(hub: Hub, stream: Stream) -> Frame:
    """Read the frame of a stream that no compute worker has published yet."""
    pipe = hub.redis.pipeline(transaction=False)
    add_reads(pipe, current_keys(), *stream)
    return Frame(orjson.dumps(blank_frame(*stream, *await each_answer(pipe))))


def settle(hub: Hub, client: Connection, left: Mapping[Stream, Iterable[str]]) -> None:
    """Take from the socket the streams and indicators that its session no longer has."""
    for stream, view in list(client.views.items()):
        if stream not in left:
            hub.leave(client, stream)
            continue
        kept = {asked: canonical for asked, canonical in view.ids.items() if asked in left[stream]}
        if len(kept) < len(view.ids):
            client.flush()
            hub.narrow(client, stream, kept)


async def resync(hub: Hub, client: Connection) -> None:
    """Make the socket agree with its session in the database: something else has changed it."""
    who: dict[str, Any] = {"user_id": client.user_id, "session_id": client.session_id}
    async with client.lock:
        socket = await subscriptions.current_socket(**who)
        if socket is None:
            client.close(Close.SESSION_ENDED, "the session has ended")
        elif socket != client.ws_conn_id:
            client.close(Close.REPLACED, "the session was opened elsewhere")
        if client.closing is not None:
            return
        rows = await subscriptions.listing(**who)
        left = {(row["symbol"], row["timeframe"]): list(row["indicators"]) for row in rows}
        settle(hub, client, left)
        for stream, asked in left.items():
            view = client.views.get(stream)
            if view is None or set(view.ids) != set(asked):
                await join(hub, client, stream, canonical_ids(asked))
