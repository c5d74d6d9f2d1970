"""One live socket, as the hub sees it: its session, what it has, and its one way out."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from stocksblitz.delivery.messages import Close, Frame, View, encode, lagged, text_frame
from stocksblitz.delivery.send_queue import Mailbox, Stream
from stocksblitz.delivery.transports import Outlet
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import session_key

PIECE = 32_768
"""Bytes of a backlog written at once."""


class WriteBatch:
    """Whose messages leave at the end of this turn of the event loop: streams that are due together leave in one write.

    ``call_soon`` has `flush` called once the turn ends; without it the caller flushes each client.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], Any] | None = None) -> None:
        self.due: list[Client] = []
        self._call_soon = call_soon
        self._scheduled = False

    def schedule(self) -> None:
        if not self._scheduled and self._call_soon is not None:
            self._scheduled = True
            self._call_soon(self.flush)

    def flush(self) -> None:
        self._scheduled = False
        due, self.due = self.due, []
        for client in due:
            out = client.out
            if out is not None:
                client.out = None
                try:
                    if isinstance(out, bytes):
                        client.write(out)
                    else:
                        client.outlet.write_all(out)
                except RuntimeError:
                    client.stall()


class Client:
    """Everything to the session leaves through here, in order.

    While the socket takes what it is given (``ready``), messages of one turn are joined into one write; ``out`` is None,
    the one message of this turn, or a list of them. Once the socket is full they wait in the mailbox, and a session whose
    backlog outgrows ``bound`` bytes is closed, to come back for the rest.
    """

    __slots__ = (
        "_bound", "_mailbox", "alive_at", "basis", "closing", "expires_at", "lock", "member", "out", "outlet", "ready",
        "session_id", "stalled_at", "touched_at", "turn", "user_id", "views", "write", "ws_conn_id",
    )  # fmt: skip

    def __init__(self, *, user_id: int, session_id: str, ws_conn_id: str, outlet: Outlet, bound: int) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.member = session_key(user_id, session_id)
        self.ws_conn_id = ws_conn_id
        self.outlet = outlet
        self.write = outlet.writer()
        self.expires_at: int | None = None
        self.basis: tuple[str, str] | None = None
        self.lock = asyncio.Lock()
        self.views: dict[Stream, View] = {}
        self.ready = True
        self.out: bytes | list[bytes] | None = None
        self.closing: int | None = None
        self.alive_at = time.monotonic()
        self.touched_at = self.alive_at
        self.stalled_at: float | None = None
        self._bound = bound
        self._mailbox = Mailbox()
        self.turn = WriteBatch()
        outlet.on_pause = self.stall
        outlet.on_resume = self.resume
        outlet.on_alive = self.alive

    @property
    def slow(self) -> bool:
        """Whether the session is behind what was meant for it."""
        return not self.ready and self.closing is None

    @property
    def behind(self) -> bool:
        """Whether so much waits already that the session should not be answered more before it reads."""
        return self.slow and self._waiting > self._bound // 4 and not self.outlet.lost

    @property
    def _waiting(self) -> int:
        """Bytes that the session has still to take, here and in its socket."""
        return self._mailbox.size + self.outlet.waiting

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
        if self.ready:
            self.queue(framed)
            self.turn.schedule()
        elif self.closing is None:
            self._mailbox.put(framed)
            self._check_bound()

    def queue(self, framed: bytes) -> None:
        """For the end of this turn; the loop over a view's clients says the same in its own words."""
        if self.out is None:
            self.out = framed
            self.turn.due.append(self)
        elif isinstance(self.out, list):
            self.out.append(framed)
        else:
            self.out = [self.out, framed]

    def keep(self, stream: Stream, frame: Frame) -> None:
        """A frame of a stream, for a session that is not ready for it."""
        if self.closing is None:
            self._mailbox.put_frame(stream, frame)
            self._check_bound()

    def flush(self) -> None:
        """Write what waits for the end of the turn."""
        out, self.out = self.out, None
        if out is not None:
            self._write(out if isinstance(out, list) else [out])

    def _write(self, framed: list[bytes]) -> None:
        try:
            self.outlet.write_all(framed)
        except RuntimeError:  # the socket is closed, and will say so
            self.stall()

    def stall(self) -> None:
        """The socket is full, or gone."""
        if self.ready:
            self.ready = False
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
        while self.slow and not self.outlet.blocked:
            piece = self._piece()
            if not piece:
                self.ready, self.stalled_at = True, None
                return
            self.stalled_at = time.monotonic()
            self._write(piece)

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
        if self._waiting > self._bound:
            self.close(Close.TOO_SLOW, "too slow: come back with since_bar")

    def close(self, code: int, reason: str = "") -> None:
        if self.closing is None:
            self.flush()
            self.closing, self.ready = code, False
            self._mailbox.clear()
            metrics.socket_closes.labels(code=str(int(code))).inc()
            self.outlet.finish(code, reason)
