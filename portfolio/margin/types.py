"""What margin is computed from: money, an instrument's terms, quotes, holdings and an account's rules
(pure).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from portfolio.margin.fx import Graph, Path, Rate, rate_along
from stocksblitz.market.core.currencies import minor_unit_places

ZERO, ONE, HUNDRED = Decimal(0), Decimal(1), Decimal(100)
BUY, SELL = 1, -1


def money(amount: Decimal, currency: str) -> Decimal:
    """Round an amount half-up to the currency's minor unit; the result is never minus zero.

    This is done when money is booked or shown, never in between.
    """
    unit = Decimal(1).scaleb(-minor_unit_places(currency))
    return amount.quantize(unit, rounding=ROUND_HALF_UP) + ZERO


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of an instrument that P&L and margin depend on."""

    symbol: str
    currency: str
    base_currency: str = ""
    contract_size: Decimal = ONE
    mode: str = "cfd"
    margin_rate: Decimal = ONE
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    hedged_margin: Decimal = ZERO
    larger_leg: bool = False

    @property
    def margin_currency(self) -> str:
        forex = self.initial_margin is None and self.mode in ("forex", "forex_no_leverage")
        return self.base_currency if forex and self.base_currency else self.currency

    @property
    def price_based(self) -> bool:
        """Whether the margin of a lot moves with the price."""
        return self.initial_margin is None and self.mode in ("cfd", "cfd_leverage", "stock", "futures")

    def lot_margin(self, leverage: Decimal, *, opened: bool) -> Decimal:
        """Return the margin of one lot in the margin currency, before the price where the mode is `price_based`.

        A margin of one lot set on the instrument replaces the formula; once ``opened`` the maintenance
        margin holds.
        """
        if self.initial_margin is not None:
            held = (
                self.maintenance_margin
                if opened and self.maintenance_margin is not None
                else self.initial_margin
            )
            return held * self.margin_rate
        leveraged = self.mode in ("forex", "cfd_leverage")
        return self.contract_size * self.margin_rate / (leverage if leveraged else ONE)

    @property
    def hedged_share(self) -> Decimal:
        """The charge of a covered lot, as a part of that of an uncovered one."""
        whole = self.contract_size
        if self.initial_margin is not None:
            whole = self.initial_margin if self.maintenance_margin is None else self.maintenance_margin
        return self.hedged_margin / whole if whole else ZERO


class Quote(NamedTuple):
    bid: Decimal
    ask: Decimal
    ts: int = 0
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class MarketPrices:
    """Known prices at one moment; a quote that cannot be used is not in it."""

    quotes: Mapping[str, Quote]
    graph: Graph

    def path(self, source: str, target: str) -> Path | None:
        """Return a chain of fresh quotes, else one of known quotes, else None."""
        fresh = self.graph.path(source, target, lambda s: s in self.quotes and self.quotes[s].fresh)
        return fresh if fresh is not None else self.graph.path(source, target, self.quotes.__contains__)

    def rate(self, source: str, target: str) -> Rate | None:
        path = self.path(source, target)
        return (
            None
            if path is None
            else rate_along(path, {leg.symbol: self.quotes[leg.symbol][:2] for leg in path}, ONE)
        )

    def traded_at(self, symbol: str, price: Decimal) -> "MarketPrices":
        """Return the same market with the symbol at the price that was just paid."""
        return replace(self, quotes={**self.quotes, symbol: Quote(price, price)})

    def shocked(self, shares: Mapping[str, Decimal]) -> "MarketPrices":
        """Return the same market with prices moved by a share of themselves (0.05: five percent up); ``*`` moves
        all others.
        """
        rest = shares.get("*", ZERO)
        factors = {symbol: ONE + shares.get(symbol, rest) for symbol in self.quotes}
        moved = {
            s: q._replace(bid=q.bid * factors[s], ask=q.ask * factors[s]) for s, q in self.quotes.items()
        }
        return replace(self, quotes=moved)


@dataclass(frozen=True, slots=True)
class Holding:
    """An open position, or a pending order (then ``price`` is its own, and ``kind`` limit or stop)."""

    id: int
    terms: Terms
    side: int
    quantity: Decimal
    price: Decimal
    margin: Decimal | None = None
    kind: str = ""

    @property
    def units(self) -> Decimal:
        return self.quantity * self.terms.contract_size


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules by which an account is valued. Levels are percent, or an equity in its currency when ``in_money``.

    ``tiers``: (lots, factor) in order, the last without an end: margin of the lots within each is
    multiplied by its factor (MetaTrader 5 "floating margin").
    """

    currency: str
    leverage: Decimal = ONE
    netting: bool = False
    mid: bool = False
    floating: bool = False
    margin_call: Decimal = HUNDRED
    stop_out: Decimal = Decimal(50)
    in_money: bool = False
    tiers: tuple[tuple[Decimal, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class MarginAccount:
    rules: Rules
    balance: Decimal
    positions: Sequence[Holding] = ()
    orders: Sequence[Holding] = ()
