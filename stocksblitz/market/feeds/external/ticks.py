"""Prices that somebody else wrote, and how much of each symbol's volume is in bars already (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

from stocksblitz.market.core.bars import DAY_MS, MAX_VOLUME, TickBars
from stocksblitz.market.core.market_hash import MarketPrice, decode_price
from stocksblitz.market.core.options import Interest
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json, decode_number

TICK_FIELDS = ("bid", "ask", "last", "volume", "ts")
"""The fields of ``market:{SYMBOL}`` that belong to whoever writes the prices."""
INTEREST_FIELDS = ("open_interest", "open_interest_change")
AHEAD_MS = 5_000
"""A tick may be this far ahead of our clock; one farther ahead would close bars that are not over."""
MAX_AGE_MS = 366 * DAY_MS
"""An older price makes no bar, and no calendar is loaded for its year."""


@dataclass(slots=True)
class ExternalTick:
    """A price as it was read; NaN where a number is missing."""

    bid: float
    ask: float
    last: float
    volume: float
    ts: int

    @classmethod
    def of(cls, price: MarketPrice, now: int) -> "ExternalTick":
        """Return the tick; a price without a time is taken to be of ``now``."""
        bid, ask, last, volume = (nan if number is None else number for number in price[:4])
        return cls(bid, ask, last, volume, price.ts or now)

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
    """A symbol whose bars this feed builds."""

    exchange: str
    bars: TickBars
    volume: float = 0.0
    """The volume of its session that is in bars already."""
    session: int = 0
    price: float = nan
    """The newest price, also while the exchange is closed."""
    interest: Interest | None = None

    def added(self, tick: ExternalTick, session: int) -> float:
        """Return what was traded since the tick before; the volume counts from the open of each session."""
        if not isfinite(tick.volume):
            return 0.0
        before = self.volume if session == self.session and tick.volume >= self.volume else 0.0
        self.volume, self.session = tick.volume, session
        return tick.volume - before


def decode_tick(values: Sequence[bytes | None], now: int) -> ExternalTick | None:
    """Return the tick that the `TICK_FIELDS` hold; None when all are missing, `BadData` when one cannot be right."""
    if not any(values):
        return None
    tick = ExternalTick.of(decode_price([*values, None, None]), now)
    if not now - MAX_AGE_MS <= tick.ts <= now + AHEAD_MS:
        raise BadData("ts", values[4], f"a time of the last year, at most {AHEAD_MS} ms ahead of {now}")
    return tick


def decode_interest(values: Sequence[bytes | None]) -> Interest | None:
    """Return the open interest that the `INTEREST_FIELDS` hold; None where it is missing."""
    oi = decode_number("open_interest", values[0], 0, MAX_VOLUME)
    change = decode_number("open_interest_change", values[1], -MAX_VOLUME, MAX_VOLUME)
    return None if oi is None else Interest(oi, change or 0.0)


def decode_counted_volume(raw: bytes | None) -> tuple[float, int] | None:
    """Return the volume that an earlier feed had put into bars and the session (ms) that it was of."""
    if not raw:
        return None
    match decode_json("counted volume", raw):
        case [float() | int() as volume, int() as session] if (
            0 <= volume <= MAX_VOLUME and 0 <= session <= MAX_MS
        ):
            return float(volume), session
    raise BadData("counted volume", raw, "a JSON array of volume and session")
