"""What one process knows of one stream: its newest frame, its views, and how it goes on after a gap (no I/O)."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from stocksblitz.delivery.connection import Connection, WriteBatch
from stocksblitz.delivery.frames import Frame, View, empty_history, lagged, snapshot, view_key
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.observability import metrics

log = logging.getLogger(__name__)

RECENT = 128
"""Closed frames kept for those who join while bars close."""

type Position = tuple[str, int]
"""Epoch and sequence number."""


class StreamState:
    """Takes frames as they come: in order they go out at once, else they are held until `repair` is given the log."""

    def __init__(self, stream: Stream, batch: WriteBatch | None = None) -> None:
        self.stream = stream
        self.newest: Frame | None = None
        self.recent: deque[Frame] = deque(maxlen=RECENT)
        self.views: dict[tuple[str, ...], View] = {}
        self.joining = 0
        self.last_position: Position | None = None
        self._batch = batch or WriteBatch()
        self._changed: set[asyncio.Future[None]] = set()
        self._idle_since: float | None = None
        self._held: list[Frame] | None = None
        self._closed_ts = 0
        self._newest_at_check: Frame | None = None

    # --- who is sent what ---------------------------------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        return [connection for view in self.views.values() for connection in view.connections]

    def read_upto(self, since: float) -> int | None:
        """Return the opening time of the last closed bar that all sessions were written; None without a session.

        A session that has read nothing since ``since`` (monotonic seconds) is not waited for.
        """
        connections = self.connections
        if not connections:
            return None
        slow = [c for c in connections if c.slow and (c.stalled_at or 0.0) > since]
        waiting = [ts for c in slow if (ts := c.first_waiting(self.stream)) is not None]
        return min(waiting) - 1 if waiting else self._closed_ts

    def enter(self, connection: Connection, ids: dict[str, str]) -> None:
        """Send the connection exactly these indicators of the stream from now on."""
        self.leave(connection)
        view = self.views.get(view_key(ids))
        if view is None:
            view = self.views[view_key(ids)] = View(ids)
        view.connections[connection] = None
        connection.views[self.stream] = view

    def leave(self, connection: Connection) -> None:
        view = connection.views.pop(self.stream, None)
        if view is None:
            return
        view.connections.pop(connection, None)
        if not view.connections:
            self.views.pop(view_key(view.ids), None)

    def idle_for(self, now: float) -> float:
        """Return for how many seconds nobody has had the stream, as far as the calls of this method saw."""
        if self.views or self.joining:
            self._idle_since = None
            return 0.0
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since

    async def wait_for_values(self, canonical: set[str]) -> None:
        """Return once the newest frame has these indicators."""
        while self.newest is None or not canonical <= self.newest.data["indicators"].keys():
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.add(changed)
            try:
                await changed
            finally:
                self._changed.discard(changed)

    # --- positions in Redis -------------------------------------------------------------------------------------------

    def has_missed(self, position: Position | None) -> bool:
        """Compare with the position in Redis; return whether frames were lost.

        A frame may still be on its way, so only what Redis was ahead by at the last comparison too counts as lost.
        """
        before, self.last_position = self.last_position, position
        newest, newest_before = self.newest, self._newest_at_check
        self._newest_at_check = newest
        if position is None:
            return False
        if newest is None or before is None:
            return newest is None
        if newest.epoch != before[0]:
            return before[0] == position[0]
        if newest is newest_before and before < position and position < (newest.epoch, newest.seq):
            self.newest = None  # no frame fits behind one that was never published: begin again
            return True
        return newest.seq < before[1]

    # --- frames -------------------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> bool:
        """Take one frame as it comes; return whether the log is needed before the stream can go on."""
        if self._held is not None:
            self._held.append(frame)
            return False
        newest = self.newest
        if newest is None:
            self._accept_first(frame)
        elif frame.epoch == newest.epoch and frame.seq == newest.seq + 1 and not frame.base:
            self._deliver(frame)
        elif frame.base and frame.epoch == newest.epoch and frame.seq == newest.seq:
            self._refresh(frame)
        elif frame.epoch != newest.epoch or frame.seq > newest.seq:
            self._held = [frame]
            return True
        return False

    def repair(self, logged: list[Frame]) -> None:
        """Go on with the frames held, after the closed frames that were missed; ``logged`` is the log, oldest first."""
        held, self._held = self._held or [], None
        for frame in held:
            newest = self.newest
            if newest is None:
                self._accept_first(frame)
            elif frame.epoch != newest.epoch:
                self._change_epoch(frame, logged, held)
            elif frame.seq + frame.base > newest.seq:
                self._catch_up(frame, logged)

    def release(self) -> None:
        """Forget the frames held, because the log could not be read: the position check finds the gap again."""
        self._held = None

    def known_upto(self, ts: int) -> None:
        """Note that a session which joined before there was a frame knows the closed bars up to this one."""
        if self.newest is None:
            self._closed_ts = min(self._closed_ts or ts, ts)

    def _accept_first(self, frame: Frame) -> None:
        if 0 < self._closed_ts < frame.upto:
            self._close_incomplete(frame)
        self.newest = frame
        self._closed_ts = frame.upto
        for connection in self.connections:  # they had joined before there was anything
            self._resnapshot(connection, frame)
        self._notify_waiters()

    def _refresh(self, frame: Frame) -> None:
        """Take the newest closed bar again, with indicators that nobody had before: for those who join."""
        assert self.newest is not None
        if frame.seq > self.newest.seq:  # the bar itself was missed, and is not in the log either
            self._close_incomplete(frame)
        self.newest, self._closed_ts = frame, frame.ts
        self._notify_waiters()

    def _deliver(self, frame: Frame) -> None:
        if frame.prev > self._closed_ts:
            self._close_incomplete(frame)
        self.newest = frame
        due = self._batch.due
        for view in self.views.values():
            framed = frame.message(view)
            for (
                connection
            ) in view.connections:  # the hottest lines of the product: once per message and session
                if connection.ready:
                    if connection.out is None:
                        connection.out = framed
                        due.append(connection)
                    else:
                        connection.add_to_turn(framed)
                else:
                    connection.queue_frame(self.stream, frame)
            metrics.frames_delivered.inc(len(view.connections))
            metrics.values_delivered.inc(len(view.connections) * len(view.ids))
        if due:
            self._batch.schedule()
        if frame.closed:
            self._closed_ts = frame.ts
            frame.shed()
            self.recent.append(frame)
        self._notify_waiters()

    def _catch_up(self, frame: Frame, logged: Sequence[Frame] = ()) -> None:
        assert self.newest is not None
        end = frame.seq + frame.base  # a base repeats the frame of its seq
        for missed in logged:
            if missed.epoch == frame.epoch and self.newest.seq < missed.seq < end:
                self._skip_to(missed.seq)
                self._deliver(missed)
                metrics.frames_repaired.inc()
        if frame.base:
            self._refresh(frame)
            return
        self._skip_to(frame.seq)
        self._deliver(frame)

    def _skip_to(self, seq: int) -> None:
        """Tell every session which frames before ``seq`` it will not get."""
        assert self.newest is not None
        if seq > self.newest.seq + 1:
            framed = lagged(*self.stream, self.newest.seq + 1, seq - 1)
            for connection in self.connections:
                connection.send(framed)

    def _change_epoch(self, frame: Frame, logged: Sequence[Frame], held: Sequence[Frame]) -> None:
        """Go through the epochs of the log up to the frame's own, so that no bar that closed in between is missing."""
        assert self.newest is not None
        epochs = list(dict.fromkeys(entry.epoch for entry in logged))
        passed = epochs.index(self.newest.epoch) + 1 if self.newest.epoch in epochs else 0
        until = epochs.index(frame.epoch) if frame.epoch in epochs else passed
        for epoch in epochs[passed:until]:
            begun = [entry for entry in logged if entry.epoch == epoch]
            if not any(entry.reset for entry in begun):
                self._finish_epoch(logged)
            if any(entry.reset or entry.upto > self._closed_ts for entry in begun):
                self._enter_epoch(begun, logged)
        begun = [entry for entry in (*held, *logged) if entry.epoch == frame.epoch]
        self._enter_epoch(begun, logged)
        if frame.seq + frame.base > self.newest.seq:
            self._catch_up(frame, logged)
        self._notify_waiters()

    def _finish_epoch(self, logged: Sequence[Frame]) -> None:
        """Deliver the logged frames that the newest frame's epoch still had."""
        assert self.newest is not None
        for missed in logged:
            if missed.epoch == self.newest.epoch and missed.seq > self.newest.seq:
                self._catch_up(missed)

    def _enter_epoch(self, begun: Sequence[Frame], logged: Sequence[Frame]) -> None:
        """Deliver what closed in the old epoch, then a snapshot of the new one's beginning; ``begun`` are its frames."""
        by_seq = {entry.seq: entry for entry in begun}
        first = by_seq[min(by_seq)]
        if not any(entry.reset for entry in begun):
            self._finish_epoch(logged)
            # Redis may have come back with less than it had said: what was delivered before is not delivered again.
            known = [seq for seq, entry in by_seq.items() if entry.upto <= self._closed_ts]
            first = by_seq[max(known)] if known else first
            if first.upto > self._closed_ts:
                self._close_incomplete(first)
        self.recent.clear()
        self.newest, self._closed_ts = first, first.upto
        for connection in self.connections:
            self._resnapshot(connection, first)

    def _resnapshot(self, connection: Connection, frame: Frame) -> None:
        view = connection.views[self.stream]
        connection.supersede(self.stream)
        connection.send(snapshot(frame, view.ids, empty_history(view.ids)))

    def _close_incomplete(self, frame: Frame) -> None:
        """Close the connections of the stream: a closed bar is gone even from the log, and ``since_bar`` brings it."""
        symbol, timeframe = self.stream
        extra = {
            "action": "bars_missed",
            "symbol": symbol,
            "timeframe": timeframe,
            "after": self._closed_ts,
            "upto": frame.upto,
            "seq": frame.seq,
        }
        log.warning("closed bars were missed", extra=extra)
        for connection in self.connections:
            connection.close(Close.TRY_AGAIN, "bars were missed: come back with since_bar")

    def _notify_waiters(self) -> None:
        waiters, self._changed = self._changed, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
