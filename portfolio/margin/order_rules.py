"""When an order's price has come, and what an account would look like with it (pure, Decimal)."""

from dataclasses import replace
from decimal import Decimal

from portfolio.margin.types import BUY, Holding, MarginAccount, Quote


def triggered(kind: str, side: int, price: Decimal, quote: Quote) -> bool:
    """Return whether an order's price has come.

    A limit order wants its price or a better one; a stop order waits until the market has gone through its price. Buys
    look at ask, sells at bid: where they would be executed.
    """
    market = quote.ask if side == BUY else quote.bid
    better = market <= price if side == BUY else market >= price
    return better if kind == "limit" else market == price or not better


def with_order(account: MarginAccount, order: Holding) -> MarginAccount:
    return replace(account, orders=[*account.orders, order])


def with_position(account: MarginAccount, added: Holding) -> MarginAccount:
    """Return the account after a fill: one more position, or the netted one larger, smaller, gone or turned round."""
    held = next((p for p in account.positions if p.terms.symbol == added.terms.symbol), None)
    if not account.rules.netting or held is None:
        return replace(account, positions=[*account.positions, added])
    others = [p for p in account.positions if p is not held]
    if held.side == added.side:
        margin = None if held.margin is None or added.margin is None else held.margin + added.margin
        return replace(
            account,
            positions=[*others, replace(held, quantity=held.quantity + added.quantity, margin=margin)],
        )
    if held.quantity == added.quantity:
        return replace(account, positions=others)
    left, whole = (held, added) if held.quantity > added.quantity else (added, held)
    quantity = left.quantity - whole.quantity
    margin = None if left.margin is None else left.margin * quantity / left.quantity
    return replace(account, positions=[*others, replace(left, quantity=quantity, margin=margin)])
