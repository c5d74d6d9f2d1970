"""What one process knows of one stream: its newest frame, who is sent what, and how gaps in it are mended (no I/O)."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from stocksblitz.delivery.connection import Client, WriteBatch
from stocksblitz.delivery.messages import Close, Frame, View, empty_history, lagged, snapshot, view_key
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.observability import metrics

log = logging.getLogger(__name__)

RECENT = 128
"""Closed frames kept for those who join while bars close."""


class StreamState:
    """Frames come in by `take`; in order they go out at once, else they are held until `mend` is given the log."""

    def __init__(self, stream: Stream, turn: WriteBatch | None = None) -> None:
        self.stream = stream
        self.turn = turn or WriteBatch()
        self.newest: Frame | None = None
        self.recent: deque[Frame] = deque(maxlen=RECENT)
        self.views: dict[tuple[str, ...], View] = {}
        self.waiters: set[asyncio.Future[None]] = set()
        self.joining = 0
        self.idle_since: float | None = None
        self.last_seen: tuple[str, int] | None = None
        self._held: list[Frame] | None = None
        self._closed_ts = 0

    # --- who is sent what ---------------------------------------------------------------------------------------------

    @property
    def clients(self) -> list[Client]:
        return [client for view in self.views.values() for client in view.clients]

    def read_upto(self, since: float) -> int | None:
        """Opening time of the last closed bar that all sessions were written; None while there is no session.

        One that has not read anything since ``since`` (monotonic seconds) is not waited for.
        """
        clients = self.clients
        if not clients:
            return None
        slow = [client for client in clients if client.slow and (client.stalled_at or 0.0) > since]
        waiting = [ts for client in slow if (ts := client.first_waiting(self.stream)) is not None]
        return min(waiting) - 1 if waiting else self._closed_ts

    def enter(self, client: Client, ids: dict[str, str]) -> None:
        """From now on the client gets exactly these indicators of the stream."""
        self.leave(client)
        view = self.views.get(view_key(ids))
        if view is None:
            view = self.views[view_key(ids)] = View(ids)
        view.clients[client] = None
        client.views[self.stream] = view

    def leave(self, client: Client) -> None:
        view = client.views.pop(self.stream, None)
        if view is None:
            return
        view.clients.pop(client, None)
        if not view.clients:
            self.views.pop(view_key(view.ids), None)

    # --- frames -------------------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> bool:
        """One frame as it comes; returns whether the log is needed before it can go on."""
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

    def mend(self, logged: list[Frame]) -> None:
        """Go on with what was held, closed frames that were missed first; ``logged`` are the stream's, oldest first."""
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
        """The log could not be read: forget what was held; the position check will come back to it."""
        self._held = None

    def known_upto(self, ts: int) -> None:
        """Somebody joined before there was a frame, and knows the closed bars up to this one."""
        if self.newest is None:
            self._closed_ts = min(self._closed_ts or ts, ts)

    def _accept_first(self, frame: Frame) -> None:
        if 0 < self._closed_ts < frame.upto:
            self._too_late(frame)
        self.newest = frame
        self._closed_ts = frame.upto
        for client in self.clients:  # they had joined before there was anything
            self._resnapshot(client, frame)
        self._announce()

    def _refresh(self, frame: Frame) -> None:
        """The newest closed bar again, with indicators that were not wanted before: for those who join."""
        assert self.newest is not None
        if frame.seq > self.newest.seq:  # the bar itself was missed, and is not in the log either
            self._too_late(frame)
        self.newest, self._closed_ts = frame, frame.ts
        self._announce()

    def _deliver(self, frame: Frame) -> None:
        if frame.prev > self._closed_ts:
            self._too_late(frame)
        self.newest = frame
        due = self.turn.due
        for view in self.views.values():
            framed = frame.message(view)
            for client in view.clients:  # the hottest lines of the house: once per message and session
                if client.ready:
                    if client.out is None:
                        client.out = framed
                        due.append(client)
                    else:
                        client.queue(framed)
                else:
                    client.keep(self.stream, frame)
            metrics.frames_delivered.inc(len(view.clients))
            metrics.values_delivered.inc(len(view.clients) * len(view.ids))
        if due:
            self.turn.schedule()
        if frame.closed:
            self._closed_ts = frame.ts
            frame.shed()
            self.recent.append(frame)
        self._announce()

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
        """Name the frames before ``seq`` that are gone for good."""
        assert self.newest is not None
        if seq > self.newest.seq + 1:
            framed = lagged(*self.stream, self.newest.seq + 1, seq - 1)
            for client in self.clients:
                client.send(framed)

    def _change_epoch(self, frame: Frame, logged: Sequence[Frame], held: Sequence[Frame]) -> None:
        """Epoch by epoch, as the log has them, to the frame's own: then nothing that closed in between is missing."""
        assert self.newest is not None
        epochs = list(dict.fromkeys(each.epoch for each in logged))
        passed = epochs.index(self.newest.epoch) + 1 if self.newest.epoch in epochs else 0
        until = epochs.index(frame.epoch) if frame.epoch in epochs else passed
        for epoch in epochs[passed:until]:
            begun = [each for each in logged if each.epoch == epoch]
            if not any(each.reset for each in begun):
                self._finish_epoch(logged)
            if any(each.reset or each.upto > self._closed_ts for each in begun):
                self._enter_epoch(begun, logged)
        begun = [each for each in (*held, *logged) if each.epoch == frame.epoch]
        self._enter_epoch(begun, logged)
        if frame.seq + frame.base > self.newest.seq:
            self._catch_up(frame, logged)
        self._announce()

    def _finish_epoch(self, logged: Sequence[Frame]) -> None:
        """What else closed in the epoch of the newest frame."""
        assert self.newest is not None
        for missed in logged:
            if missed.epoch == self.newest.epoch and missed.seq > self.newest.seq:
                self._catch_up(missed)

    def _enter_epoch(self, begun: Sequence[Frame], logged: Sequence[Frame]) -> None:
        """First what closed in the old epoch, then a snapshot of the new one's beginning, of which these are known."""
        by_seq = {each.seq: each for each in begun}
        first = by_seq[min(by_seq)]
        if not any(each.reset for each in begun):
            self._finish_epoch(logged)
            # Redis may have come back with less than it had said: what was delivered before is not delivered again.
            known = [seq for seq, each in by_seq.items() if each.upto <= self._closed_ts]
            first = by_seq[max(known)] if known else first
            if first.upto > self._closed_ts:
                self._too_late(first)
        self.recent.clear()
        self.newest, self._closed_ts = first, first.upto
        for client in self.clients:
            self._resnapshot(client, first)

    def _resnapshot(self, client: Client, frame: Frame) -> None:
        view = client.views[self.stream]
        client.supersede(self.stream)
        client.send(snapshot(frame, view.ids, empty_history(view.ids)))

    def _too_late(self, frame: Frame) -> None:
        """A closed bar is gone even from the log: whoever has the stream comes back and gets it by ``since_bar``."""
        extra = {"action": "bars_missed", "after": self._closed_ts, "upto": frame.upto, "seq": frame.seq}
        log.warning("closed bars of %s %s were missed", *self.stream, extra=extra)
        for client in self.clients:
            client.close(Close.TRY_AGAIN, "bars were missed: come back with since_bar")

    def _announce(self) -> None:
        waiters, self.waiters = self.waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
