"""What live sessions want computed, by stream and by symbol (pure; the time is monotonic seconds)."""

import logging
from collections import defaultdict
from collections.abc import Iterable

from indicators.engine.spec import Spec, parse
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.keys import BARS_ONLY, computation

log = logging.getLogger(__name__)

type StreamId = tuple[str, str]

LINGER_S = 3.0
"""How long a stream that nobody wants any more goes on: longer than a web process remembers it (`IDLE_S` of the hub)."""


class Wanted:
    """``specs``: per stream what is wanted of it, perhaps the bars alone. ``changed``: streams to be looked at anew.

    ``unwanted``: streams without indicators, and when they may end unless their bars alone are wanted. ``left``: streams
    that nobody here computes or wants and that are still in Redis, and when they may go.
    """

    def __init__(self) -> None:
        self.specs: dict[StreamId, dict[str, Spec]] = {}
        self.by_symbol: dict[str, set[StreamId]] = defaultdict(set)
        self.unwanted: dict[StreamId, float] = {}
        self.left: dict[StreamId, float] = {}
        self.changed: set[StreamId] = set()

    def add(self, computation: str) -> None:
        """One computation (`stocksblitz.redis.keys.computation`) has its first subscriber."""
        symbol, timeframe, indicator = computation.split("|", 2)
        stream = (symbol, timeframe)
        specs = self.specs.setdefault(stream, {})
        self.unwanted.pop(stream, None)
        self.left.pop(stream, None)
        if indicator != BARS_ONLY and indicator not in specs:
            try:
                specs[indicator] = parse(indicator)
            except StocksBlitzError as error:
                log.error("wanted, and not in the catalogue: %s", error, extra={"action": "bad_demand"})
        self.by_symbol[symbol].add(stream)
        self.changed.add(stream)

    def drop(self, computation: str, now: float) -> None:
        """One computation has lost its last subscriber."""
        symbol, timeframe, indicator = computation.split("|", 2)
        stream = (symbol, timeframe)
        specs = self.specs.get(stream)
        if specs is None:
            return
        specs.pop(indicator, None)
        self.changed.add(stream)
        if not specs:
            self.unwanted.setdefault(stream, now + LINGER_S)

    def agree(self, members: set[str], heard: set[str], now: float) -> None:
        """Become what Redis says is wanted; what was ``heard`` meanwhile is newer than the answer, and stands."""
        known = {computation(*stream, each) for stream, specs in self.specs.items() for each in specs}
        bars = {computation(*stream, BARS_ONLY) for stream in self.specs}
        alone = {computation(*stream, BARS_ONLY) for stream, specs in self.specs.items() if not specs}
        for each in members - known - bars - heard:
            self.add(each)
        for each in (known | alone) - members - heard:
            self.drop(each, now)

    def lapsed(self, now: float) -> list[StreamId]:
        """Streams that have had no indicator for long enough to end."""
        return [stream for stream, at in self.unwanted.items() if at <= now]

    def find_left(self, streams: Iterable[StreamId], now: float) -> None:
        """These are in Redis: what of it is not wanted was left by a worker that ended before its stream did."""
        unknown = [stream for stream in streams if stream not in self.specs]
        self.left = {stream: self.left.get(stream, now + LINGER_S) for stream in unknown}

    def take_left(self, now: float) -> list[StreamId]:
        """Those of them that may go."""
        gone = [stream for stream, at in self.left.items() if at <= now]
        for stream in gone:
            del self.left[stream]
        return gone

    def forget(self, stream: StreamId) -> bool:
        """The stream has ended; returns whether it was the last of its symbol."""
        self.specs.pop(stream, None)
        self.by_symbol[stream[0]].discard(stream)
        if self.by_symbol[stream[0]]:
            return False
        del self.by_symbol[stream[0]]
        return True
