"""What waits for a session that reads too slowly: everything that must come, and of what may be skipped the newest."""

from collections import deque
from dataclasses import dataclass

from stocksblitz.delivery.messages import Frame

type Stream = tuple[str, str]
"""(symbol, timeframe)"""


@dataclass(slots=True)
class Item:
    """Something to write: bytes as they are, or a frame of a stream, encoded when it is written.

    ``skipped_from`` is the first ``seq`` of the stream left out right before this frame, or None.
    """

    stream: Stream | None = None
    frame: Frame | None = None
    framed: bytes | None = None
    skipped_from: int | None = None
    size: int = 0

    @property
    def alive(self) -> bool:
        return self.frame is not None or self.framed is not None


class Mailbox:
    """The ordered backlog of one session, bounded in bytes by whoever fills it (see `size`).

    A forming frame takes the place of the stream's forming frame before it and remembers from where on frames were
    left out; closed frames and replies are never left out. Frames wait unencoded, so that what is written at last
    holds the indicators that the session has then.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._last: dict[Stream, Item] = {}
        self._dead = 0
        self.size = 0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._items) - self._dead

    def put(self, framed: bytes) -> None:
        self._add(Item(framed=framed, size=len(framed)))

    def put_frame(self, stream: Stream, frame: Frame) -> None:
        item = Item(stream, frame, size=frame.size)
        before = self._last.get(stream)
        if before is not None and before.frame is not None and not before.frame.closed:
            if before.frame.epoch == frame.epoch:
                item.skipped_from = before.frame.seq if before.skipped_from is None else before.skipped_from
            self._drop(before)
        self._add(item)
        self._last[stream] = item
        self.closed += frame.closed

    def drop_stream(self, stream: Stream, *, keep_closed: bool) -> None:
        """Take a stream's frames out: all of them, or only the forming one (a snapshot takes its place)."""
        self._last.pop(stream, None)
        for item in list(self._items):
            if item.stream == stream and item.frame and not (keep_closed and item.frame.closed):
                self._drop(item)

    def first_closed(self, stream: Stream) -> int | None:
        """Opening time of the oldest closed bar of the stream that waits."""
        waiting = (item.frame for item in self._items if item.stream == stream and item.frame is not None)
        return next((frame.ts for frame in waiting if frame.closed), None)

    def take(self) -> Item | None:
        """The next to go out, or None when nothing waits."""
        while self._items:
            item = self._items.popleft()
            if not item.alive:
                self._dead -= 1
                continue
            self.size -= item.size
            if item.stream is not None and item.frame is not None:
                self.closed -= item.frame.closed
                if self._last.get(item.stream) is item:
                    del self._last[item.stream]
            return item
        return None

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # there is nothing to it but its backlog

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self.size += item.size

    def _drop(self, item: Item) -> None:
        assert item.frame is not None
        self.size -= item.size
        self.closed -= item.frame.closed
        item.frame = None
        self._dead += 1
        if self._dead > 64 and self._dead > len(self._items) // 2:
            self._items, self._dead = deque(item for item in self._items if item.alive), 0
