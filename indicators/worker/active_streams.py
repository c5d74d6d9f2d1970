"""Streams and indicators that live sessions subscribe to, by stream and by symbol (pure; times are monotonic seconds)."""

from collections import defaultdict
from collections.abc import Iterable

from indicators.engine.formats import split_computation
from indicators.engine.spec import Spec, parse
from stocksblitz.redis.keys import BARS_ONLY, computation

type StreamId = tuple[str, str]

LINGER_S = 3.0
"""How long a stream without subscribers goes on: longer than a web process remembers it (`IDLE_S` of the hub)."""


class ActiveStreams:
    """The streams that have subscribers, and those that wait for their end.

    ``specs``: the indicators of each stream; none where only its bars are subscribed to. ``changed``: streams whose
    indicators changed. ``ending``: streams without indicators, and when they may end unless their bars are subscribed to.
    ``orphans``: streams in Redis that no worker computes and nobody subscribes to, and when they may be removed.

    Computations are valid (`indicators.engine.formats.split_computation`).
    """

    def __init__(self) -> None:
        self.specs: dict[StreamId, dict[str, Spec]] = {}
        self.by_symbol: dict[str, set[StreamId]] = defaultdict(set)
        self.ending: dict[StreamId, float] = {}
        self.orphans: dict[StreamId, float] = {}
        self.changed: set[StreamId] = set()

    def add(self, name: str) -> None:
        """Add a computation that has its first subscriber."""
        symbol, timeframe, indicator = split_computation(name)
        stream = (symbol, timeframe)
        specs = self.specs.setdefault(stream, {})
        self.ending.pop(stream, None)
        self.orphans.pop(stream, None)
        if indicator != BARS_ONLY and indicator not in specs:
            specs[indicator] = parse(indicator)
        self.by_symbol[symbol].add(stream)
        self.changed.add(stream)

    def drop(self, name: str, now: float) -> None:
        """Take away a computation that has lost its last subscriber."""
        symbol, timeframe, indicator = split_computation(name)
        stream = (symbol, timeframe)
        specs = self.specs.get(stream)
        if specs is None:
            return
        specs.pop(indicator, None)
        self.changed.add(stream)
        if not specs:
            self.ending.setdefault(stream, now + LINGER_S)

    def reconcile(self, subscribed: set[str], announced: set[str], now: float) -> None:
        """Become what Redis says is subscribed to.

        Computations that were ``announced`` while Redis answered stay as they are: that is newer than the answer.
        """
        known = {
            computation(*stream, indicator) for stream, specs in self.specs.items() for indicator in specs
        }
        bars = {computation(*stream, BARS_ONLY) for stream in self.specs}
        bars_alone = {computation(*stream, BARS_ONLY) for stream, specs in self.specs.items() if not specs}
        for name in subscribed - known - bars - announced:
            self.add(name)
        for name in (known | bars_alone) - subscribed - announced:
            self.drop(name, now)

    def expired(self, now: float) -> list[StreamId]:
        """Return the streams that have had no indicator for long enough to end."""
        return [stream for stream, at in self.ending.items() if at <= now]

    def mark_orphans(self, published: Iterable[StreamId], now: float) -> None:
        """Mark streams that are still in Redis although no worker computes them."""
        unknown = [stream for stream in published if stream not in self.specs]
        self.orphans = {stream: self.orphans.get(stream, now + LINGER_S) for stream in unknown}

    def take_orphans(self, now: float) -> list[StreamId]:
        """Return the orphans that may be removed, and forget them."""
        due = [stream for stream, at in self.orphans.items() if at <= now]
        for stream in due:
            del self.orphans[stream]
        return due

    def forget(self, stream: StreamId) -> bool:
        """Remove a stream that has ended; return whether it was the last of its symbol."""
        self.specs.pop(stream, None)
        self.by_symbol[stream[0]].discard(stream)
        if self.by_symbol[stream[0]]:
            return False
        del self.by_symbol[stream[0]]
        return True
