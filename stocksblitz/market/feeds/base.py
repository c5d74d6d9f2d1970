"""The contract of a feed: it moves its markets, the writer writes what changed of them."""

from abc import ABC, abstractmethod
from asyncio import Event
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stocksblitz.market.core.bars import TIMEFRAMES, Bar, Closed

YEARS_BACK = 10
"""The hot store's daily bars go back about as far."""

Past = Mapping[str, Sequence[Bar]]
"""Closed bars by timeframe, oldest first."""


@dataclass(slots=True)
class FeedQuote:
    """The newest price of a symbol; ``volume`` is what was traded since the session opened, ``ts`` is in ms."""

    last: float
    bid: float
    ask: float
    volume: float
    ts: int


@dataclass(slots=True)
class SymbolState:
    """What the feed holds of one symbol, and whether it differs from what was written."""

    symbol: str
    gen: int
    """Grows when the past was written anew."""
    timeframes: tuple[str, ...] = tuple(TIMEFRAMES)
    quote: FeedQuote | None = None
    fresh_until: int = 0
    """Wall clock (ms) at which the price gets stale."""
    forming: dict[str, Bar] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    """Timeframe to the opening time of the bar closed last."""
    closed: list[Closed] = field(default_factory=list)
    """Bars that closed and are not written yet, oldest first."""
    greeks: bytes = b""
    oi: bytes = b""
    reset: bool = False
    """The past begins anew: the hot store is emptied before anything is written."""
    dirty: bool = False

    def close(self, bars: Iterable[Closed]) -> None:
        """Take bars that closed; the writer puts them into the hot store before it tells of anything else."""
        before = len(self.closed)
        self.closed.extend(bars)
        self.dirty = self.dirty or len(self.closed) > before


class Feed(ABC):
    """A source of prices. It writes nothing itself: it changes its `markets`, and the writer flushes them."""

    source: str
    """As clients see it: ``simulated``, ``replay`` …"""
    writes_quotes = True
    """False: somebody else writes price and volume and tells of them; only the bars are ours."""
    complete = True
    """Whether the past of every market has been handed over."""

    def __init__(self) -> None:
        self.markets: dict[str, SymbolState] = {}

    @property
    def finished(self) -> bool:
        """Nothing will come any more by itself: `run_feed --once` ends."""
        return False

    @property
    def identity(self) -> str:
        """What the past depends on; when it changes, what an older feed left in the mock realm is purged."""
        return self.source

    def years(self) -> range:
        """Return the years whose sessions readers of the bars may ask for."""
        this = datetime.now(UTC).year
        return range(this - YEARS_BACK, this + 1)

    @abstractmethod
    async def open(self, *, intact: bool, gen: int) -> None:
        """Make the instruments, take up the past.

        ``intact``: the hot store holds what a feed of this identity wrote before, under the generation ``gen``.
        """

    @abstractmethod
    async def step(self, now: int) -> bool:
        """Move the markets up to ``now`` (wall clock, ms); returns whether there is more to do at once."""

    @abstractmethod
    async def past(self, symbol: str) -> Past:
        """Closed bars up to now, for a hot store that was lost."""

    def state(self, symbols: Collection[str]) -> dict[str, bytes]:
        """Redis keys that the feed goes on from after a restart, written behind the bars of the symbols that changed."""
        return {}

    async def intake(self, stop: Event) -> None:
        """Receive until the stop; feeds that are polled by `step` have none."""
        await stop.wait()

    async def close(self) -> None:
        """Give back what the feed holds."""
        return None
