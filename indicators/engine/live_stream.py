"""One live stream of a compute worker: bars and kernels in, frames out, in one unbroken order (no I/O, no clock)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from indicators.engine.formats import is_whole
from indicators.engine.spec import Spec
from indicators.engine.stream import Stream, Values
from stocksblitz.delivery.messages import iso
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.core.market_hash import FeedState
from stocksblitz.market.store.bar_codec import FormingBar
from stocksblitz.redis.decoding import BadData


@dataclass(slots=True)
class StreamPosition:
    """How far a stream has been published: enough for another worker to go on where this one ended."""

    epoch: str = ""
    seq: int = 0
    closed_ts: int = 0
    generation: str = ""

    def dump(self) -> str:
        return f"{self.epoch}|{self.seq}|{self.closed_ts}|{self.generation}"

    @classmethod
    def load(cls, raw: bytes | None) -> "StreamPosition":
        """Read a position; one of no stream where there is none, BadData for what is none."""
        if not raw:
            return cls()
        try:
            epoch, seq, closed_ts, generation = raw.decode().split("|", 3)
            position = cls(epoch, int(seq), int(closed_ts), generation)
        except ValueError:
            raise BadData("position", raw, "epoch|seq|closed_ts|generation") from None
        if not is_whole(position.seq) or not is_whole(position.closed_ts):
            raise BadData("position", raw, "numbers within their bounds")
        return position


@dataclass(slots=True)
class Batch:
    """Frames of one step: ``logged`` also stay in the stream's log; ``forming`` only goes out. ``closed`` is the values
    of the newest bar that closed, or None when none did."""

    logged: list[bytes] = field(default_factory=list)
    forming: bytes | None = None
    closed: dict[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.logged) or self.forming is not None


def reaches(bars: Sequence[Bar], forming: FormingBar | None) -> bool:
    """Return whether the closed bars reach up to the forming one: a hot store that was lost is written oldest first."""
    return forming is None or not forming.prev_ts or (bool(bars) and bars[-1].ts >= forming.prev_ts)


class LiveStream:
    """The stream of one (symbol, timeframe) for one epoch.

    An epoch begins with a base frame: the state at the last bar that was published before it. What closed since then
    follows as closed frames, so that a takeover neither skips a bar nor repeats one.
    """

    def __init__(self, symbol: str, timeframe: str, epoch: str, feed: FeedState) -> None:
        self.symbol, self.timeframe = symbol, timeframe
        self.position = StreamPosition(epoch, 0, 0, feed.generation)
        self.feed = feed
        self._flushed = feed.flushed
        self.forming: Bar | None = None
        self.stale = False
        self._engine = Stream()
        self._before = 0
        self._base: tuple[Bar, int] | None = None
        self._values: Values = {}

    @property
    def broken(self) -> dict[str, str]:
        return self._engine.broken

    @property
    def last_ts(self) -> int:
        return self.position.closed_ts

    @property
    def ids(self) -> set[str]:
        return {spec.id for spec in self._engine.specs} | set(self._engine.broken)

    def begin(
        self, bars: Sequence[Bar], specs: Iterable[Spec], published: StreamPosition, now_ms: int
    ) -> Batch:
        """Open the kernels on these closed bars; return the batch that begins the epoch."""
        same_history = published.generation == self.position.generation or not published.epoch
        last = published.closed_ts if same_history and published.closed_ts else None
        split = sum(1 for bar in bars if last is None or bar.ts <= last)
        split = split or len(
            bars
        )  # all that is kept is newer than what was published last: begin with all of it
        history, missed = bars[:split], bars[split:]
        self._engine = Stream(history)
        self._engine.set_indicators(specs)
        batch = Batch()
        if history:
            self._before = history[-2].ts if len(history) > 1 else 0
            self._base = history[-1], self._before
            self.position.closed_ts = history[-1].ts
            self._values = self._engine.last_values()
            flags = {"base": True, "reset": not same_history}
            batch.logged.append(self._frame(history[-1], self._values, closed=True, now_ms=now_ms, **flags))
            self._before = history[-1].ts
        self.close(missed, batch, now_ms)
        return batch

    def follows(self, feed: FeedState) -> bool:
        """Return whether the bars to come continue the history that this stream was opened on."""
        return feed.generation == self.position.generation

    def set_indicators(self, specs: Iterable[Spec], bars: Sequence[Bar]) -> None:
        """Compute exactly these indicators; new ones are opened on ``bars``, closed and up to the last one published."""
        usable = [bar for bar in bars if bar.ts <= self.position.closed_ts]
        self._engine.set_indicators(specs, usable)
        self._values = self._engine.last_values()

    def close(self, bars: Iterable[Bar], batch: Batch, now_ms: int) -> None:
        """Take in closed bars in order and add their frames to the batch; bars that were taken in before are skipped."""
        for bar in bars:
            if bar.ts <= self.position.closed_ts:
                continue
            self._values = self._engine.update(bar)
            batch.logged.append(self._frame(bar, self._values, closed=True, now_ms=now_ms))
            batch.closed = self.closed_values(bar)
            self._base = bar, self._before
            self._before = self.position.closed_ts = bar.ts
            if self.forming is not None and self.forming.ts <= bar.ts:
                self.forming = None

    def peek(self, bar: Bar, prev_ts: int, batch: Batch, now_ms: int) -> bool:
        """Add the frame of a forming bar to the batch; False where it follows another bar than the one taken in last."""
        if prev_ts != self.position.closed_ts and prev_ts:
            return False
        self.forming = bar
        batch.forming = self._frame(bar, self._engine.peek(bar), closed=False, now_ms=now_ms)
        return True

    def repeat(self, batch: Batch, now_ms: int) -> None:
        """Publish the newest state again: its indicators, or its staleness, have changed."""
        if self.forming is not None:
            batch.forming = self._frame(
                self.forming, self._engine.peek(self.forming), closed=False, now_ms=now_ms
            )
        elif self._base is not None:
            # Nothing is new in the order of frames: the newest one is published again under its sequence number.
            bar, self._before = self._base
            self.position.seq -= 1
            batch.forming = self._frame(bar, self._values, closed=True, now_ms=now_ms, base=True)
            self._before = bar.ts

    def _new_flush(self) -> int:
        """Return when the feed wrote the bar (ms UTC) for the first frame of each flush, and 0 for all others.

        Delivery lag counts from there; a frame that repeats an old state says nothing of it.
        """
        if self.feed.flushed == self._flushed:
            return 0
        self._flushed = self.feed.flushed
        return self._flushed or 0

    def closed_values(self, bar: Bar) -> dict[str, Any]:
        return {id: self._entry(bar, value, ready) for id, (value, ready) in self._values.items()}

    def _entry(self, bar: Bar, value: Any, ready: bool) -> dict[str, Any]:
        return {"ts": bar.ts, "value": value if ready else None, "timeframe": self.timeframe, "ready": ready}

    def _frame(self, bar: Bar, values: Values, *, closed: bool, now_ms: int, **flags: bool) -> bytes:
        self.position.seq += 1
        self.stale = now_ms > (self.feed.fresh_until or 0)
        ts, timeframe = bar.ts, self.timeframe
        return orjson.dumps(
            {
                "epoch": self.position.epoch,
                "seq": self.position.seq,
                "symbol": self.symbol,
                "timeframe": timeframe,
                "timestamp": iso(now_ms),
                "ohlcv": {
                    "ts": ts,
                    "open": bar.open,
                    "high": bar.high,
                    "low": bar.low,
                    "close": bar.close,
                    "volume": bar.volume,
                    "closed": closed,
                },
                "greeks": self.feed.greeks,
                "oi": self.feed.oi,
                "indicators": {
                    id: {"ts": ts, "value": value, "timeframe": timeframe, "ready": ready}
                    for id, (value, ready) in values.items()
                },
                "source": self.feed.source,
                "stale": self.stale,
                "prev": self._before,
                "flushed": self._new_flush(),
                **flags,
            }
        )
