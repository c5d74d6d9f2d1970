"""Pending orders by symbol and price, so that a tick finds those whose price has come without looking at
all (pure).
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence

from portfolio.margin.types import BUY, Holding

BUY_BELOW, BUY_ABOVE, SELL_ABOVE, SELL_BELOW = range(4)
Entry = tuple[float, str]


def _list_of(order: Holding) -> int:
    if order.side == BUY:
        return BUY_BELOW if order.kind == "limit" else BUY_ABOVE
    return SELL_ABOVE if order.kind == "limit" else SELL_BELOW


class Triggers:
    """For every symbol four sorted lists of (price, account): due when ask or bid is at or beyond the
    price.
    """

    def __init__(self) -> None:
        self._lists: dict[str, tuple[list[Entry], ...]] = defaultdict(lambda: ([], [], [], []))
        self._of: dict[str, list[tuple[str, int, Entry]]] = {}

    def put(self, account: str, orders: Sequence[Holding]) -> None:
        """Replace what is known of the account's orders."""
        self.drop(account)
        entries = [(o.terms.symbol, _list_of(o), (float(o.price), account)) for o in orders]
        for symbol, which, entry in entries:
            insort(self._lists[symbol][which], entry)
        if entries:
            self._of[account] = entries

    def drop(self, account: str) -> None:
        for symbol, which, entry in self._of.pop(account, ()):
            entries = self._lists[symbol][which]
            del entries[bisect_left(entries, entry)]

    def due(self, symbol: str, bid: float, ask: float) -> set[str]:
        """The accounts with an order whose price has come."""
        lists = self._lists.get(symbol)
        if lists is None:
            return set()
        found = lists[BUY_BELOW][bisect_left(lists[BUY_BELOW], (ask, "")) :]
        found += lists[BUY_ABOVE][: bisect_right(lists[BUY_ABOVE], (ask, "\x7f"))]
        found += lists[SELL_ABOVE][: bisect_right(lists[SELL_ABOVE], (bid, "\x7f"))]
        found += lists[SELL_BELOW][bisect_left(lists[SELL_BELOW], (bid, "")) :]
        return {account for _, account in found}
