"""Margin call and stop-out: when, what goes first, and how far away they are (pure, Decimal)."""

from decimal import Decimal

from portfolio.margin.margin import Valuation
from portfolio.margin.types import BUY, HUNDRED, ZERO, MarginAccount, MarketPrices, Rules

OK, MARGIN_CALL, STOP_OUT, STALE = "ok", "margin_call", "stop_out", "stale"


def reached(level: Decimal, valuation: Valuation, rules: Rules) -> bool:
    """Return whether the account is at or below a level. Without margin there is no percentage, so only money
    counts then.
    """
    if valuation.equity is None:
        return False
    if rules.in_money:
        return valuation.equity <= level
    return bool(valuation.used) and valuation.equity * HUNDRED <= level * (valuation.used or ZERO)


def state(valuation: Valuation, rules: Rules) -> str:
    """Return the account's state; stale prices suspend every margin action, so they come before the levels."""
    if valuation.stale:
        return STALE
    if reached(rules.stop_out, valuation, rules):
        return STOP_OUT
    return MARGIN_CALL if reached(rules.margin_call, valuation, rules) else OK


def next_to_close(account: MarginAccount, valuation: Valuation) -> tuple[str, int] | None:
    """Return what goes first at stop-out: the pending order with the most margin, then the position with the
    largest loss.

    Orders without margin would free nothing and stay. Ties go to the older one. None when nothing is left.
    """
    charged = [o for o in account.orders if o.margin]
    if charged:
        return "order", min(charged, key=lambda o: (-(o.margin or ZERO), o.id)).id
    priced = [(p, i) for i, p in valuation.profits.items() if p is not None]
    return ("position", min(priced)[1]) if priced else None


def equity_at(level: Decimal, valuation: Valuation, rules: Rules) -> Decimal | None:
    """Return the equity at which the level is reached with the margin of now; None when it cannot be."""
    if rules.in_money:
        return level
    return None if not valuation.used else level * valuation.used / HUNDRED


def price_at(
    level: Decimal, account: MarginAccount, valuation: Valuation, market: MarketPrices
) -> Decimal | None:
    """Return the closing-side price at which an account in one symbol reaches the level; None when there is no
    such price.

    The spread and other rates are taken to stay as they are, and the account's net P&L to be converted as
    one sum. Where the account's currency is the base of the symbol the conversion moves with the price, and
    that is solved for too.
    """
    rules = account.rules
    target = equity_at(level, valuation, rules)
    symbols = {h.terms.symbol for h in account.positions}
    moving = rules.floating or any(h.margin is None for h in account.positions)
    if target is None or len(symbols) != 1 or moving or valuation.equity is None:
        return None
    terms = account.positions[0].terms
    quote = market.quotes[terms.symbol]
    spread = ZERO if rules.mid else quote.ask - quote.bid
    net = sum((h.side * h.units for h in account.positions), ZERO)
    cost = sum((h.side * h.units * h.price for h in account.positions), ZERO)
    cost += spread * sum((h.units for h in account.positions if h.side != BUY), ZERO)
    need = target - account.balance
    path = market.path(terms.currency, rules.currency)
    if path is not None and len(path) == 1 and path[0] == (terms.symbol, True):
        below = net - need
        bid = (cost + (need * spread if need >= 0 else ZERO)) / below if below else None
    else:
        rate = market.rate(terms.currency, rules.currency)
        bid = (need / rate.for_gain(need, mid=rules.mid) + cost) / net if rate and net else None
    if bid is None or not net or bid <= 0:
        return None
    return bid if net > 0 else bid + spread
