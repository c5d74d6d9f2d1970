"""What a session subscribes to, as a pure state, and the changes that requests make to it.

Rows are named by (symbol, timeframe, asked id); an empty asked id stands for the bars alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from indicators.engine.spec import Spec
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.keys import BARS_ONLY, computation

type StreamKey = tuple[str, str]
type Ids = dict[str, str]
"""Asked id to canonical id."""
type Guard = Callable[[Ids], object]
"""Is given the ids that a session would have on a stream, and raises StocksBlitzError to refuse them."""


def asked_ids(rows: Ids) -> Ids:
    """Return the indicators of a stream, without the row that stands for its bars alone."""
    return {asked: canonical for asked, canonical in rows.items() if asked}


@dataclass(frozen=True, slots=True)
class Limits:
    streams: int
    indicators: int


@dataclass(slots=True)
class SessionSubscriptions:
    """All that one session subscribes to; each change is done wholly, or raises and changes nothing."""

    streams: dict[StreamKey, Ids] = field(default_factory=dict)

    def computations(self) -> frozenset[str]:
        """Return the computations that the session needs, each once however many of its ids mean it."""
        return frozenset(
            computation(symbol, timeframe, canonical)
            for (symbol, timeframe), ids in self.streams.items()
            for canonical in ids.values()
        )

    def rows(self) -> dict[tuple[str, str, str], str]:
        """Return (symbol, timeframe, asked id) to canonical id."""
        return {
            (*stream, asked): canonical
            for stream, ids in self.streams.items()
            for asked, canonical in ids.items()
        }

    def add(
        self, stream: StreamKey, specs: Mapping[str, Spec], limits: Limits, guard: Guard | None = None
    ) -> None:
        """Add indicators (none: the bars alone); those that the session has already stay as they are."""
        if stream not in self.streams and len(self.streams) >= limits.streams:
            raise StocksBlitzError(
                "limit_exceeded",
                f"a session has at most {limits.streams} streams: unsubscribe from one first",
            )
        wanted = {asked: spec.id for asked, spec in specs.items()} or {"": BARS_ONLY}
        after = {**self.streams.get(stream, {}), **wanted}
        ids = asked_ids(after)
        if len(ids) > limits.indicators:
            raise StocksBlitzError(
                "limit_exceeded",
                f"a stream has at most {limits.indicators} indicators a session, this would make {len(ids)}",
            )
        if guard is not None:
            guard(ids)
        self.streams[stream] = after

    def matching(self, symbol: str | None, timeframe: str | None) -> list[StreamKey]:
        return [
            stream
            for stream in self.streams
            if (symbol is None or stream[0] == symbol) and (timeframe is None or stream[1] == timeframe)
        ]

    def drop(
        self, symbol: str | None, timeframe: str | None, indicators: list[str] | None
    ) -> dict[tuple[str, str, str], str]:
        """Take away and return what matches (a level left out: all of it); naming what is not there is no error."""
        taken: dict[tuple[str, str, str], str] = {}
        for stream in self.matching(symbol, timeframe):
            ids = self.streams[stream]
            for asked in list(ids) if indicators is None else [asked for asked in indicators if asked in ids]:
                if asked in ids:  # an id may be named twice
                    taken[(*stream, asked)] = ids.pop(asked)
            if not ids:
                del self.streams[stream]
        return taken
