"""What a session subscribes to, as a pure state, and the changes that requests make to it.

Rows are named by (symbol, timeframe, asked id); an empty asked id stands for the bars alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from indicators.engine.spec import Spec
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.keys import BARS_ONLY, computation

type Pair = tuple[str, str]
type Ids = dict[str, str]
"""Asked id to canonical id."""
type Guard = Callable[[Ids], object]
"""Looks at what a pair would have, and raises StocksBlitzError to refuse it."""


def asked_ids(rows: Ids) -> Ids:
    """The indicators of a pair; the row for its bars alone is none."""
    return {asked: canonical for asked, canonical in rows.items() if asked}


@dataclass(frozen=True, slots=True)
class Limits:
    streams: int
    indicators: int


@dataclass(slots=True)
class SessionSubscriptions:
    """All that one session asked for; each change is done wholly or raises and does nothing."""

    pairs: dict[Pair, Ids] = field(default_factory=dict)

    def computations(self) -> frozenset[str]:
        """What has to be computed for it, each once however many ids mean it."""
        return frozenset(
            computation(symbol, timeframe, canonical)
            for (symbol, timeframe), ids in self.pairs.items()
            for canonical in ids.values()
        )

    def rows(self) -> dict[tuple[str, str, str], str]:
        """(symbol, timeframe, asked id) to canonical id."""
        return {
            (*pair, asked): canonical for pair, ids in self.pairs.items() for asked, canonical in ids.items()
        }

    def add(self, pair: Pair, specs: Mapping[str, Spec], limits: Limits, guard: Guard | None = None) -> None:
        """Add indicators (none: the bars alone); what is there already stays as it is."""
        if pair not in self.pairs and len(self.pairs) >= limits.streams:
            raise StocksBlitzError(
                "limit_exceeded",
                f"a session has at most {limits.streams} streams: unsubscribe from one first",
            )
        wanted = {asked: spec.id for asked, spec in specs.items()} or {"": BARS_ONLY}
        after = {**self.pairs.get(pair, {}), **wanted}
        ids = asked_ids(after)
        if len(ids) > limits.indicators:
            raise StocksBlitzError(
                "limit_exceeded",
                f"a stream has at most {limits.indicators} indicators a session, this would make {len(ids)}",
            )
        if guard is not None:
            guard(ids)
        self.pairs[pair] = after

    def matching(self, symbol: str | None, timeframe: str | None) -> list[Pair]:
        return [
            pair
            for pair in self.pairs
            if (symbol is None or pair[0] == symbol) and (timeframe is None or pair[1] == timeframe)
        ]

    def drop(
        self, symbol: str | None, timeframe: str | None, indicators: list[str] | None
    ) -> dict[tuple[str, str, str], str]:
        """Take away what matches (a level left out: all of it) and return it; what is not there is no error."""
        taken: dict[tuple[str, str, str], str] = {}
        for pair in self.matching(symbol, timeframe):
            ids = self.pairs[pair]
            for asked in list(ids) if indicators is None else [each for each in indicators if each in ids]:
                if asked in ids:  # an id may be named twice
                    taken[(*pair, asked)] = ids.pop(asked)
            if not ids:
                del self.pairs[pair]
        return taken
