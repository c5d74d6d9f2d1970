"""The contract of a feed: it moves its markets, the writer writes what changed of them."""

from abc import ABC, abstractmethod
from asyncio import Event
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stocksblitz.market.core.bars import TIMEFRAMES, Bar, Closed

YEARS_BACK = 10
"""Years of sessions that a feed writes: the daily bars of the hot store reach back about ten years."""

ClosedBars = Mapping[str, Sequence[Bar]]
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
    """The state of one symbol in the feed, and whether it differs from what is written in Redis."""

    symbol: str
    gen: int
    """Generation of the closed bars; it grows when they were all written again."""
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
    """The closed bars start over: the hot store is emptied before anything is written."""
    dirty: bool = False

    def close(self, bars: Iterable[Closed]) -> None:
        """Take bars that closed; the writer stores them before it announces anything."""
        before = len(self.closed)
        self.closed.extend(bars)
        self.dirty = self.dirty or len(self.closed) > before


class Feed(ABC):
    """A source of prices. It writes nothing itself: it changes its `markets`, and the writer flushes them."""

    source: str
    """As clients see it: ``simulated``, ``replay`` …"""
    writes_quotes = True
    """False: another program writes and announces price and volume; only the bars are ours."""
    complete = True
    """Whether the closed bars of every market have been handed over."""

    def __init__(self) -> None:
        self.markets: dict[str, SymbolState] = {}

    @property
    def finished(self) -> bool:
        """Return whether the feed has nothing more to give: then `run_feed --once` ends."""
        return False

    @property
    def identity(self) -> str:
        """Return what the closed bars depend on; when it changes, an older feed's data in the mock realm are purged."""
        return self.source

    def years(self) -> range:
        """Return the years whose sessions readers of the bars may ask for."""
        this = datetime.now(UTC).year
        return range(this - YEARS_BACK, this + 1)

    @abstractmethod
    async def open(self, *, intact: bool, gen: int) -> None:
        """Make the instruments and continue from the stored bars.

        ``intact``: the hot store holds what a feed of this identity wrote before, under the generation ``gen``.
        """

    @abstractmethod
    async def step(self, now: int) -> bool:
        """Move the markets up to ``now`` (wall clock, ms); return whether there is more to do at once."""

    @abstractmethod
    async def history(self, symbol: str) -> ClosedBars:
        """Return the closed bars up to now, for a hot store that was lost."""

    def state(self, symbols: Collection[str]) -> dict[str, bytes]:
        """Return Redis keys that a restart continues from; they are written after the bars of these symbols."""
        return {}

    async def intake(self, stop: Event) -> None:
        """Receive prices until the stop; feeds that are polled by `step` receive none."""
        await stop.wait()

    async def close(self) -> None:
        """Close the connections that the feed holds."""
        return None
