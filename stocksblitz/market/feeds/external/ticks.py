"""What somebody else wrote of a symbol, and how much of it is in bars already (pure)."""

from dataclasses import dataclass
from math import isfinite, nan

from stocksblitz.market.core.bars import TickBars
from stocksblitz.market.core.options import Interest


def number(raw: bytes | None) -> float:
    """A plain decimal number, else NaN."""
    try:
        return float(raw) if raw else nan
    except ValueError:
        return nan


@dataclass(slots=True)
class ExternalTick:
    """A price hash as it was read; NaN where a number is missing or none."""

    bid: float
    ask: float
    last: float
    volume: float
    ts: int

    @classmethod
    def of(cls, values: list[bytes | None], now: int) -> "ExternalTick":
        bid, ask, last, volume, ts = map(number, values)
        return cls(bid, ask, last, volume, int(ts) if isfinite(ts) else now)

    @property
    def price(self) -> float:
        """The last price, else the middle of bid and ask, else NaN."""
        return self.last if isfinite(self.last) and self.last else (self.bid + self.ask) / 2

    @property
    def crossed(self) -> bool:
        """The bid is above the ask: neither can be true."""
        return self.bid > self.ask


@dataclass(slots=True)
class Listing:
    """A symbol that we build bars of."""

    exchange: str
    bars: TickBars
    volume: float = 0.0
    """The volume of its session that is in bars already."""
    session: int = 0
    price: float = nan
    """The newest, also while the exchange is closed."""
    interest: Interest | None = None

    def added(self, tick: ExternalTick, session: int) -> float:
        """What was traded since the tick before; the volume counts from the open of each session."""
        if not isfinite(tick.volume):
            return 0.0
        before = self.volume if session == self.session and tick.volume >= self.volume else 0.0
        self.volume, self.session = tick.volume, session
        return tick.volume - before
