"""Conversion between currencies through any chain of quoted pairs (pure; for Decimal and float alike).

A rate has two sides: selling one unit of ``source`` gets ``bid`` of ``target``, buying one costs ``ask``.
An inverted pair swaps them: whoever turns JPY into USD over USDJPY buys dollars, so its bid is 1/ask.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Leg(NamedTuple):
    """One step of a chain: over ``symbol``, against its direction when ``inverse``."""

    symbol: str
    inverse: bool


Path = tuple[Leg, ...]


class Rate(NamedTuple):
    bid: Any
    ask: Any
    mid: Any

    def for_gain(self, gain: Any, *, mid: bool = False) -> Any:
        """Return the side that converting this gain or loss would get: a gain is sold, what a loss needs is
        bought.
        """
        if mid:
            return self.mid
        return self.bid if gain >= 0 else self.ask


@dataclass(frozen=True, slots=True)
class Pair:
    """An instrument whose price is that of ``base`` in ``quote``; of chains as long as one another the lower ``rank``
    goes first.
    """

    symbol: str
    base: str
    quote: str
    rank: int = 0


class Graph:
    """Currencies as nodes, the pairs between them as edges."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._edges: dict[str, list[tuple[str, Leg]]] = {}
        self.symbols: set[str] = set()
        # A pair named by its two currencies is preferred to others of the same two; the rest is
        # alphabetical, so that every process and the oracle take the same chain.
        for pair in sorted(
            pairs, key=lambda pair: (pair.rank, pair.symbol != pair.base + pair.quote, pair.symbol)
        ):
            self.symbols.add(pair.symbol)
            self._edges.setdefault(pair.base, []).append((pair.quote, Leg(pair.symbol, inverse=False)))
            self._edges.setdefault(pair.quote, []).append((pair.base, Leg(pair.symbol, inverse=True)))

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.symbols

    def path(self, source: str, target: str, usable: Callable[[str], bool]) -> Path | None:
        """Return the shortest chain over usable pairs; () when the currencies are the same, None when there is no
        chain.
        """
        if source == target:
            return ()
        came: dict[str, Path] = {source: ()}
        queue = deque([source])
        while queue:
            here = queue.popleft()
            for there, leg in self._edges.get(here, ()):
                if there in came or not usable(leg.symbol):
                    continue
                came[there] = (*came[here], leg)
                if there == target:
                    return came[there]
                queue.append(there)
        return None


def rate_along(path: Path, sides: Mapping[str, tuple[Any, Any]], one: Any) -> Rate:
    """Return the rate of a chain; ``sides`` maps a symbol to (bid, ask), ``one`` is 1 in the arithmetic wanted."""
    low = high = middle = one
    for leg in path:
        bid, ask = sides[leg.symbol]
        if leg.inverse:
            low, high, middle = low / ask, high / bid, middle / ((bid + ask) / 2)
        else:
            low, high, middle = low * bid, high * ask, middle * ((bid + ask) / 2)
    return Rate(low, high, middle)
