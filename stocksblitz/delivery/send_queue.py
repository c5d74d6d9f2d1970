"""What waits for a slow connection: every closed frame and reply, and only the newest forming frame of each stream."""

from collections import deque
from dataclasses import dataclass

from stocksblitz.delivery.frames import Frame

type Stream = tuple[str, str]
"""(symbol, timeframe)"""


@dataclass(slots=True)
class QueuedMessage:
    """A framed message as it is, or a frame of a stream that is encoded when it is written.

    ``skipped_from`` is the first sequence number of the stream that was left out right before this frame, or None.
    """

    stream: Stream | None = None
    frame: Frame | None = None
    framed: bytes | None = None
    skipped_from: int | None = None
    size: int = 0

    @property
    def dropped(self) -> bool:
        return self.frame is None and self.framed is None


class SendQueue:
    """The ordered backlog of one connection; whoever fills it bounds it by its `size` in bytes.

    A forming frame takes the place of the stream's forming frame before it, and remembers from where on frames were
    left out. Closed frames and replies are never left out. Frames wait unencoded, so that they are written with the
    indicators that the session has then.
    """

    def __init__(self) -> None:
        self._messages: deque[QueuedMessage] = deque()
        self._newest: dict[Stream, QueuedMessage] = {}
        self._dropped = 0
        self.size = 0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._messages) - self._dropped

    def put(self, framed: bytes) -> None:
        self._add(QueuedMessage(framed=framed, size=len(framed)))

    def put_frame(self, stream: Stream, frame: Frame) -> None:
        message = QueuedMessage(stream, frame, size=frame.size)
        before = self._newest.get(stream)
        if before is not None and before.frame is not None and not before.frame.closed:
            if before.frame.epoch == frame.epoch:
                first = before.skipped_from
                message.skipped_from = before.frame.seq if first is None else first
            self._drop(before)
        self._add(message)
        self._newest[stream] = message
        self.closed += frame.closed

    def drop_stream(self, stream: Stream, *, keep_closed: bool) -> None:
        """Drop a stream's frames: all of them, or only the forming one because a snapshot takes its place."""
        self._newest.pop(stream, None)
        for message in list(self._messages):
            if message.stream == stream and message.frame and not (keep_closed and message.frame.closed):
                self._drop(message)

    def first_closed(self, stream: Stream) -> int | None:
        """Return the opening time of the oldest closed bar of the stream that waits."""
        frames = (m.frame for m in self._messages if m.stream == stream and m.frame is not None)
        return next((frame.ts for frame in frames if frame.closed), None)

    def take(self) -> QueuedMessage | None:
        """Remove and return the message that is written next, or None when nothing waits."""
        while self._messages:
            message = self._messages.popleft()
            if message.dropped:
                self._dropped -= 1
                continue
            self._forget(message)
            return message
        return None

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # a queue has nothing but its backlog

    def _add(self, message: QueuedMessage) -> None:
        self._messages.append(message)
        self.size += message.size

    def _forget(self, message: QueuedMessage) -> None:
        self.size -= message.size
        if message.stream is not None and message.frame is not None:
            self.closed -= message.frame.closed
            if self._newest.get(message.stream) is message:
                del self._newest[message.stream]

    def _drop(self, message: QueuedMessage) -> None:
        """Mark the message as dropped; the queue is compacted when most of it is."""
        assert message.frame is not None
        self.size -= message.size
        self.closed -= message.frame.closed
        message.frame = None
        self._dropped += 1
        if self._dropped > 64 and self._dropped > len(self._messages) // 2:
            self._messages, self._dropped = deque(m for m in self._messages if not m.dropped), 0
