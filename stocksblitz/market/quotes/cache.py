"""Prices kept for a moment. Pure: every time is an argument, in seconds of one steady clock."""

from dataclasses import dataclass

from stocksblitz.market.quotes.types import Outcome, Price, ProviderQuote

Key = tuple[str, str]
"""Account and symbol."""


@dataclass(frozen=True, slots=True)
class CachedPrice:
    """A quote, when it was fetched, and until when it may be given out."""

    quote: ProviderQuote
    provider: str
    fetched: float
    expires: float

    def fresh(self, now: float) -> bool:
        return now < self.expires

    def price(self, outcome: Outcome, now: float) -> Price:
        """What a caller is told at that moment."""
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
    """At most ``size`` entries; the oldest leaves first. `get` needs no lock, the writers take the
    owner's."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Key, CachedPrice] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> CachedPrice | None:
        """The entry, or None when there is none or it has expired."""
        entry = self._entries.get(key)
        return entry if entry is not None and now < entry.expires else None

    def put(self, key: Key, entry: CachedPrice) -> None:
        self._entries.pop(key, None)  # so that insertion order stays the order of age
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry

    def sweep(self, now: float) -> None:
        """Drop everything that has expired."""
        for key in [key for key, entry in self._entries.items() if not entry.fresh(now)]:
            del self._entries[key]
