"""Equity and margin of one account in Decimal: the oracle that the columns are held against (pure).

Conventions, each with its source:

- Long positions are marked at bid, short ones at ask (``mid`` marks both at the middle, as OANDA v20 does).
- P&L is in the quote currency and converted with the side that the conversion trade would get.
- Margin by mode, hedged volume by the basic rule or the larger leg: MetaTrader 5, "Margin Calculation". It
  is converted at ask for buys and bid for sells and frozen on the position; ``floating`` computes it again at
  every price.
- Level = equity / used margin x 100, unknown (None) without margin. Call and stop-out at or below their
  level.
- A price or rate that is missing makes what depends on it None, never 1 or 0; an old one is used and flagged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from portfolio.margin.types import (
    BUY,
    HUNDRED,
    ONE,
    SELL,
    ZERO,
    Holding,
    MarginAccount,
    MarketPrices,
    Quote,
    Rules,
    Terms,
)


@dataclass(slots=True)
class Valuation:
    """An account at one moment. Money that depends on a missing price is None; ``missing`` names what is
    missing.
    """

    balance: Decimal
    unrealized: Decimal | None
    used: Decimal | None
    stale: bool
    missing: tuple[str, ...]
    oldest_ts: int | None
    profits: dict[int, Decimal | None] = field(default_factory=dict)
    margins: dict[int, Decimal | None] = field(default_factory=dict)

    @property
    def equity(self) -> Decimal | None:
        return None if self.unrealized is None else self.balance + self.unrealized

    @property
    def free(self) -> Decimal | None:
        return None if self.equity is None or self.used is None else self.equity - self.used

    @property
    def level(self) -> Decimal | None:
        return None if self.equity is None or not self.used else self.equity / self.used * HUNDRED


def mark(side: int, quote: Quote, *, mid: bool) -> Decimal:
    """Return the price at which the position could be closed."""
    if mid:
        return (quote.bid + quote.ask) / 2
    return quote.bid if side == BUY else quote.ask


def gain(holding: Holding, price: Decimal) -> Decimal:
    """Return the profit at a price, in the quote currency."""
    return holding.side * holding.units * (price - holding.price)


def converted(
    amount: Decimal, source: str, target: str, market: MarketPrices, *, mid: bool = False
) -> Decimal | None:
    """Convert a gain or loss into another currency; None when there is no rate."""
    rate = market.rate(source, target)
    if rate is None:
        return None
    side: Decimal = rate.for_gain(amount, mid=mid)
    return amount * side


def profit(holding: Holding, rules: Rules, market: MarketPrices) -> Decimal | None:
    """Return the unrealised P&L in the account's currency; None when a price or rate is missing."""
    quote = market.quotes.get(holding.terms.symbol)
    if quote is None:
        return None
    earned = gain(holding, mark(holding.side, quote, mid=rules.mid))
    return converted(earned, holding.terms.currency, rules.currency, market, mid=rules.mid)


def margin_of(
    holding: Holding, price: Decimal, rules: Rules, market: MarketPrices, *, opened: bool = True
) -> Decimal | None:
    """Return the margin of a holding by itself at a price, in the account's currency; None when there is no rate."""
    amount = holding.quantity * holding.terms.lot_margin(rules.leverage, opened=opened)
    if holding.terms.price_based:
        amount *= price
    rate = market.rate(holding.terms.margin_currency, rules.currency)
    if rate is None:
        return None
    side: Decimal = rate.mid if rules.mid else rate.ask if holding.side == BUY else rate.bid
    return amount * side


def opening_margin(
    holding: Holding, rules: Rules, market: MarketPrices, *, opened: bool = True
) -> Decimal | None:
    """Return the margin that is frozen when a position is opened or an order placed: that at its own price."""
    own = market.traded_at(holding.terms.symbol, holding.price)
    return margin_of(holding, holding.price, rules, own, opened=opened)


def current_margin(holding: Holding, rules: Rules, market: MarketPrices) -> Decimal | None:
    """Return the frozen margin, or the one at the current price where it floats or could not be frozen yet."""
    if holding.margin is not None and not rules.floating:
        return holding.margin
    if not holding.terms.price_based:
        return margin_of(holding, ZERO, rules, market)
    quote = market.quotes.get(holding.terms.symbol)
    if quote is None:
        return None
    return margin_of(holding, mark(-holding.side, quote, mid=rules.mid), rules, market)


class Charge(NamedTuple):
    """Lots of one side of a symbol, and the margin they would need by themselves."""

    lots: Decimal
    margin: Decimal


def hedged(buys: Charge, sells: Charge, terms: Terms) -> Decimal:
    """Return the margin of opposite positions in one symbol (MetaTrader 5, hedging: basic rule, or the larger leg).

    Basic: what is uncovered at the average of the larger side, what is covered at the hedged size and the
    average of all positions.
    """
    if not buys.lots or not sells.lots:
        return buys.margin + sells.margin
    if terms.larger_leg:
        return max(buys.margin, sells.margin)
    larger, smaller = (buys, sells) if buys.lots >= sells.lots else (sells, buys)
    uncovered = larger.margin * (larger.lots - smaller.lots) / larger.lots
    average = (buys.margin + sells.margin) / (buys.lots + sells.lots)
    return uncovered + smaller.lots * terms.hedged_share * average


def with_orders(held: Decimal, side: int, orders: Mapping[int, Decimal], *, netting: bool) -> Decimal:
    """Return the margin of a symbol with its pending orders.

    Where positions are netted, orders against the position replace it rather than add to it: the larger
    direction counts.
    """
    if not netting:
        return held + orders[BUY] + orders[SELL]
    return max(held + orders[side], orders[-side])


def tier_factor(lots: Decimal, tiers: Sequence[tuple[Decimal, Decimal]]) -> Decimal:
    """Return the average factor over the lots, tier by tier."""
    if not tiers or not lots:
        return ONE
    left, total = lots, ZERO
    for index, (size, factor) in enumerate(tiers):
        taken = left if index == len(tiers) - 1 else min(left, size)
        total, left = total + taken * factor, left - taken
    return total / lots


def used_margin(
    account: MarginAccount, margins: Mapping[int, Decimal | None], order_margins: Mapping[int, Decimal | None]
) -> Decimal | None:
    """Return the margin of all positions and pending orders together; None when one of them is not known."""
    if any(margin is None for margin in (*margins.values(), *order_margins.values())):
        return None
    total = lots = ZERO
    for symbol in dict.fromkeys(h.terms.symbol for h in (*account.positions, *account.orders)):
        held = [h for h in account.positions if h.terms.symbol == symbol]
        waiting = [h for h in account.orders if h.terms.symbol == symbol]
        terms = (held or waiting)[0].terms
        sides = {side: _charge(held, side, margins) for side in (BUY, SELL)}
        orders = {side: _charge(waiting, side, order_margins).margin for side in (BUY, SELL)}
        side = BUY if sides[BUY].lots >= sides[SELL].lots else SELL
        total += with_orders(
            hedged(sides[BUY], sides[SELL], terms), side, orders, netting=account.rules.netting
        )
        lots += sum((h.quantity for h in (*held, *waiting)), ZERO)
    return total * tier_factor(lots, account.rules.tiers)


def _charge(holdings: Iterable[Holding], side: int, margins: Mapping[int, Decimal | None]) -> Charge:
    same = [h for h in holdings if h.side == side]
    return Charge(sum((h.quantity for h in same), ZERO), sum((margins[h.id] or ZERO for h in same), ZERO))


def value(account: MarginAccount, market: MarketPrices) -> Valuation:
    """Value the whole account at these prices."""
    rules = account.rules
    profits = {h.id: profit(h, rules, market) for h in account.positions}
    margins = {h.id: current_margin(h, rules, market) for h in account.positions}
    orders = {h.id: h.margin for h in account.orders}
    known = [p for p in profits.values() if p is not None]
    missing, stale, oldest = _freshness(account, market)
    return Valuation(
        balance=account.balance,
        unrealized=sum(known, ZERO) if len(known) == len(profits) else None,
        used=used_margin(account, margins, orders),
        stale=stale,
        missing=missing,
        oldest_ts=oldest,
        profits=profits,
        margins=margins,
    )


def _freshness(account: MarginAccount, market: MarketPrices) -> tuple[tuple[str, ...], bool, int | None]:
    """Return what is missing, whether anything used is missing or old, and the time of the oldest price used."""
    missing: set[str] = set()
    used: set[str] = set()
    for holding in account.positions:
        terms = holding.terms
        if terms.symbol in market.quotes:
            used.add(terms.symbol)
        else:
            missing.add(terms.symbol)
        currencies = {terms.currency}
        if holding.margin is None or account.rules.floating:
            currencies.add(terms.margin_currency)
        for currency in currencies:
            path = market.path(currency, account.rules.currency)
            if path is None:
                missing.add(f"{currency}/{account.rules.currency}")
            else:
                used.update(leg.symbol for leg in path)
    quotes = [market.quotes[symbol] for symbol in used]
    stale = bool(missing) or not all(quote.fresh for quote in quotes)
    return tuple(sorted(missing)), stale, min((quote.ts for quote in quotes), default=None)
