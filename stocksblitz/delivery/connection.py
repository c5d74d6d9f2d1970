"""One open WebSocket as the hub sees it: its session, its views, and the one way by which messages leave."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from stocksblitz.delivery.frames import Frame, View, lagged
from stocksblitz.delivery.messages import Close, encode, text_frame
from stocksblitz.delivery.send_queue import SendQueue, Stream
from stocksblitz.delivery.transports import Transport
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import session_key

RESUME_BYTES = 32_768
"""Bytes of a backlog that are written at once: what the socket has taken can no longer be conflated."""


class WriteBatch:
    """The connections that are written to at the end of this turn of the event loop.

    Messages that are due together leave in one write. ``call_soon`` schedules `flush` for the end of the turn; without
    it the caller flushes each connection.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], Any] | None = None) -> None:
        self.due: list[Connection] = []
        self._call_soon = call_soon
        self._scheduled = False

    def schedule(self) -> None:
        if not self._scheduled and self._call_soon is not None:
            self._scheduled = True
            self._call_soon(self.flush)

    def flush(self) -> None:
        self._scheduled = False
        due, self.due = self.due, []
        for connection in due:
            out = connection.out
            if out is not None:
                connection.out = None
                try:
                    if isinstance(out, bytes):
                        connection.write(out)
                    else:
                        connection.transport.write_all(out)
                except RuntimeError:
                    connection.stall()


class Connection:
    """Everything to the session leaves through here, in order.

    While the socket takes what it is given (``ready``), messages of one turn are joined into one write; ``out`` is None,
    the one message of this turn, or a list of them. Once the socket is full they wait in the send queue. A session whose
    backlog outgrows ``max_backlog`` bytes is closed and comes back for the rest.
    """

    __slots__ = (
        "_max_backlog", "_queue", "batch", "closing", "credential", "expires_at", "last_sign_of_life", "lock", "login_id",
        "out", "ready", "renewed_at", "session_id", "session_key", "stalled_at", "transport", "user_id", "views", "write",
        "ws_conn_id",
    )  # fmt: skip

    def __init__(
        self, *, user_id: int, session_id: str, ws_conn_id: str, transport: Transport, max_backlog: int
    ) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.session_key = session_key(user_id, session_id)
        self.ws_conn_id = ws_conn_id
        self.transport = transport
        self.write = transport.writer()
        self.login_id: str | None = None
        self.expires_at: int | None = None
        self.credential: tuple[str, str] | None = None
        self.lock = asyncio.Lock()
        self.views: dict[Stream, View] = {}
        self.ready = True
        self.out: bytes | list[bytes] | None = None
        self.closing: int | None = None
        self.last_sign_of_life = time.monotonic()
        self.renewed_at = self.last_sign_of_life
        self.stalled_at: float | None = None
        self._max_backlog = max_backlog
        self._queue = SendQueue()
        self.batch = WriteBatch()
        transport.on_pause = self.stall
        transport.on_resume = self.resume
        transport.on_alive = self.note_sign_of_life

    @property
    def slow(self) -> bool:
        """Whether messages wait for the session because its socket is full."""
        return not self.ready and self.closing is None

    @property
    def far_behind(self) -> bool:
        """Whether so much waits that the session gets no more answers before it reads."""
        return self.slow and self.backlog > self._max_backlog // 4 and not self.transport.lost

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken yet, in the send queue and in the socket."""
        return self._queue.size + self.transport.waiting

    def note_sign_of_life(self) -> None:
        self.last_sign_of_life = time.monotonic()

    def first_waiting(self, stream: Stream) -> int | None:
        """Return the opening time of the oldest closed bar of the stream that was not written yet."""
        return self._queue.first_closed(stream) if self.slow else None

    def reply(self, message: dict[str, Any]) -> None:
        self.send(text_frame(encode(message)))

    def send(self, framed: bytes) -> None:
        """Send a message that may not be left out, after those sent before."""
        if self.ready:
            self.add_to_turn(framed)
            self.batch.schedule()
        elif self.closing is None:
            self._queue.put(framed)
            self._check_backlog()

    def add_to_turn(self, framed: bytes) -> None:
        """Write the message at the end of this turn; `StreamState` does the first branch inline for speed."""
        if self.out is None:
            self.out = framed
            self.batch.due.append(self)
        elif isinstance(self.out, list):
            self.out.append(framed)
        else:
            self.out = [self.out, framed]

    def queue_frame(self, stream: Stream, frame: Frame) -> None:
        """Keep a frame for a session whose socket is full."""
        if self.closing is None:
            self._queue.put_frame(stream, frame)
            self._check_backlog()

    def flush(self) -> None:
        """Write now what would be written at the end of the turn."""
        out, self.out = self.out, None
        if out is not None:
            self._write(out if isinstance(out, list) else [out])

    def _write(self, framed: list[bytes]) -> None:
        try:
            self.transport.write_all(framed)
        except RuntimeError:  # the socket is closed; its consumer will be told
            self.stall()

    def stall(self) -> None:
        """Let messages wait from now on: the socket is full, or gone."""
        if self.ready:
            self.ready = False
            self.stalled_at = time.monotonic()

    def forget(self, stream: Stream) -> None:
        """Drop what waits of the stream: the session has left it."""
        self.flush()
        self._queue.drop_stream(stream, keep_closed=False)

    def supersede(self, stream: Stream) -> None:
        """Drop the waiting forming frame of the stream: a newer snapshot follows."""
        self.flush()
        self._queue.drop_stream(stream, keep_closed=True)

    def resume(self) -> None:
        """Write what waited while the socket takes it, piece by piece, so that nothing waits in two places."""
        while self.slow and not self.transport.blocked:
            piece = self._next_piece()
            if not piece:
                self.ready, self.stalled_at = True, None
                return
            self.stalled_at = time.monotonic()
            self._write(piece)

    def _next_piece(self) -> list[bytes]:
        """Take the next messages of the backlog; frames are encoded for the views that the session has now."""
        piece: list[bytes] = []
        size = 0
        while size < RESUME_BYTES and (queued := self._queue.take()) is not None:
            if queued.framed is not None:
                piece.append(queued.framed)
            elif queued.stream in self.views and queued.frame is not None:
                if queued.skipped_from is not None:
                    piece.append(lagged(*queued.stream, queued.skipped_from, queued.frame.seq - 1))
                    metrics.frames_conflated.inc(queued.frame.seq - queued.skipped_from)
                piece.append(queued.frame.message(self.views[queued.stream]))
            size += queued.size
        return piece

    def _check_backlog(self) -> None:
        if self.backlog > self._max_backlog:
            self.close(Close.TOO_SLOW, "too slow: come back with since_bar")

    def close(self, code: int, reason: str = "") -> None:
        if self.closing is None:
            self.flush()
            self.closing, self.ready = code, False
            self._queue.clear()
            metrics.socket_closes.labels(code=str(int(code))).inc()
            self.transport.finish(code, reason)
