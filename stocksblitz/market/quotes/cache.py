"""A cache of prices. Pure: every time is an argument, in seconds of one steady clock."""

from dataclasses import dataclass

from stocksblitz.market.quotes.types import Outcome, Price, ProviderQuote

Key = tuple[str, str]
"""Account and symbol."""


@dataclass(frozen=True, slots=True)
class CachedPrice:
    """A quote, when it was fetched, and when it expires."""

    quote: ProviderQuote
    provider: str
    fetched: float
    expires: float

    def fresh(self, now: float) -> bool:
        return now < self.expires

    def price(self, outcome: Outcome, now: float) -> Price:
        """Return the price as a caller gets it at that time."""
        quote = self.quote
        return Price(
            quote.price,
            quote.bid,
            quote.ask,
            quote.ts or 0,
            self.provider,
            outcome,
            int((now - self.fetched) * 1000),
            round((self.expires - self.fetched) * 1000),
            quote.fresh_until,
        )


class PriceCache:
    """Holds at most ``size`` prices and drops the oldest first. `get` needs no lock; writers hold the owner's."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Key, CachedPrice] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> CachedPrice | None:
        """Return the entry; None when it is missing or has expired."""
        entry = self._entries.get(key)
        return entry if entry is not None and now < entry.expires else None

    def put(self, key: Key, entry: CachedPrice) -> None:
        self._entries.pop(key, None)  # so that insertion order stays the order of age
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry

    def sweep(self, now: float) -> None:
        """Drop every entry that has expired."""
        for key in [key for key, entry in self._entries.items() if not entry.fresh(now)]:
            del self._entries[key]
