"""One live socket, as the hub sees it: its session, what it has, and its one way out."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from stocksblitz import metrics
from stocksblitz.delivery.mailbox import Mailbox, Stream
from stocksblitz.delivery.outlets import Outlet
from stocksblitz.delivery.wire import Close, Frame, View, encode, lagged, text_frame
from stocksblitz.keys import member

PIECE = 32_768
"""Bytes of a backlog written at once."""


class Client:
    """Everything to the session leaves through here, in order.

    While the socket takes what it is given, messages of one turn are joined into one write (`out`). Once it is full they
    wait in the mailbox, and a session whose backlog outgrows ``bound`` bytes is closed, to come back for the rest.
    """

    def __init__(self, *, user_id: int, session_id: str, ws_conn_id: str, outlet: Outlet, bound: int) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.member = member(user_id, session_id)
        self.ws_conn_id = ws_conn_id
        self.outlet = outlet
        self.expires_at: int | None = None
        self.lock = asyncio.Lock()
        self.views: dict[Stream, View] = {}
        self.slow = False
        self.closing: int | None = None
        self.alive_at = time.monotonic()
        self.touched_at = self.alive_at
        self.stalled_at: float | None = None
        self._bound = bound
        self._mailbox = Mailbox()
        self._out: list[bytes] = []
        self._on_due: Callable[[Client], None] = lambda client: client.flush()
        outlet.on_resume = self.resume
        outlet.on_alive = self.alive

    def attach(self, on_due: Callable[["Client"], None]) -> None:
        """``on_due`` is told when something waits to be written at the end of this turn."""
        self._on_due = on_due

    def alive(self) -> None:
        """The client showed a sign of life."""
        self.alive_at = time.monotonic()

    def first_waiting(self, stream: Stream) -> int | None:
        """Opening time of the oldest closed bar of the stream that was not written yet."""
        return self._mailbox.first_closed(stream) if self.slow else None

    def reply(self, message: dict[str, Any]) -> None:
        self.send(text_frame(encode(message)))

    def send(self, framed: bytes) -> None:
        """Something that must come, in its place in the order."""
        if self.closing is not None:
            return
        if self.slow:
            self._mailbox.put(framed)
            self._check_bound()
        else:
            self._queue(framed)

    def frame(self, stream: Stream, frame: Frame, framed: bytes) -> None:
        """A frame of a stream; ``framed`` is its message for this client's view."""
        if self.closing is not None:
            return
        if self.slow:
            self._mailbox.put_frame(stream, frame)
            self._check_bound()
        else:
            self._queue(framed)

    def _queue(self, framed: bytes) -> None:
        self._out.append(framed)
        if len(self._out) == 1:
            self._on_due(self)

    def flush(self) -> None:
        """Write what waits for the end of the turn."""
        if self._out:
            out, self._out = self._out, []
            if self.closing is None:
                self.outlet.write(out)
                if self.outlet.blocked:
                    self._stall()

    def _stall(self) -> None:
        self.slow = True
        self.stalled_at = time.monotonic()

    def forget(self, stream: Stream) -> None:
        """Nothing of the stream may be written any more."""
        self.flush()
        self._mailbox.drop_stream(stream, keep_closed=False)

    def supersede(self, stream: Stream) -> None:
        """A snapshot follows: the forming frame that waits is older than it."""
        self.flush()
        self._mailbox.drop_stream(stream, keep_closed=True)

    def resume(self) -> None:
        """The socket takes more: what waited goes first, piece by piece, so that it never waits in two places."""
        if not self.slow or self.closing is not None:
            return
        while not self.outlet.blocked:
            piece = self._piece()
            if not piece:
                self.slow, self.stalled_at = False, None
                return
            self.stalled_at = time.monotonic()
            self.outlet.write(piece)

    def _piece(self) -> list[bytes]:
        """The next few messages of the backlog, with the views that the session has now."""
        out: list[bytes] = []
        size = 0
        while size < PIECE and (item := self._mailbox.take()) is not None:
            if item.framed is not None:
                out.append(item.framed)
            elif item.stream in self.views and item.frame is not None:
                if item.skipped_from is not None:
                    out.append(lagged(*item.stream, item.skipped_from, item.frame.seq - 1))
                    metrics.frames_conflated.inc(item.frame.seq - item.skipped_from)
                out.append(item.frame.message(self.views[item.stream]))
            size += item.size
        return out

    def _check_bound(self) -> None:
        if self._mailbox.size > self._bound:
            self.close(Close.TOO_SLOW, "too slow: come back with since_bar")

    def close(self, code: int, reason: str = "") -> None:
        if self.closing is None:
            self.flush()
            self.closing = code
            self._mailbox.clear()
            metrics.socket_closes.labels(code=str(int(code))).inc()
            self.outlet.finish(code, reason)
