"""What a decision about an account was made from, in words and numbers that explain it later (pure)."""

from decimal import Decimal
from typing import Any

from portfolio.margin.levels import equity_at
from portfolio.margin.margin import Valuation, mark
from portfolio.margin.types import BUY, Holding, MarginAccount, MarketPrices, Rules, money

SIDE_NAMES = {1: "buy", -1: "sell"}


def plain(number: Decimal | None) -> str | None:
    """Write a decimal without an exponent, without zeros at its end, and without the sign of a zero."""
    if number is None:
        return None
    text = f"{number:zf}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(amount: Decimal | None, currency: str) -> str | None:
    """Write money with the digits of its currency's minor unit, rounded half-up."""
    return None if amount is None else f"{money(amount, currency):f}"


def percent(level: Decimal | None) -> str | None:
    return None if level is None else f"{level:z.2f}"


def numbers(valuation: Valuation, rules: Rules) -> dict[str, str | None]:
    """Return the account's figures at one moment."""
    currency = rules.currency
    return {
        "balance": shown(valuation.balance, currency),
        "equity": shown(valuation.equity, currency),
        "unrealized_pnl": shown(valuation.unrealized, currency),
        "used_margin": shown(valuation.used, currency),
        "free_margin": shown(valuation.free, currency),
        "margin_level": percent(valuation.level),
    }


def _position(holding: Holding, valuation: Valuation, market: MarketPrices, rules: Rules) -> dict[str, Any]:
    quote = market.quotes.get(holding.terms.symbol)
    return {
        "id": holding.id,
        "symbol": holding.terms.symbol,
        "side": SIDE_NAMES[holding.side],
        "quantity": plain(holding.quantity),
        "price": plain(holding.price),
        "mark": plain(mark(holding.side, quote, mid=rules.mid)) if quote else None,
        "unrealized_pnl": plain(valuation.profits.get(holding.id)),
        "margin": plain(valuation.margins.get(holding.id)),
    }


def _rates(account: MarginAccount, market: MarketPrices) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in sorted({h.terms.currency for h in account.positions} - {account.rules.currency}):
        path, rate = market.path(source, account.rules.currency), market.rate(source, account.rules.currency)
        if path is not None and rate is not None:
            chain = [f"1/{leg.symbol}" if leg.inverse else leg.symbol for leg in path]
            sides = {"bid": plain(rate.bid), "ask": plain(rate.ask)}
            found[f"{source}/{account.rules.currency}"] = {"over": chain, **sides}
    return found


def inputs(account: MarginAccount, valuation: Valuation, market: MarketPrices) -> dict[str, Any]:
    """Return everything that the numbers came from: enough to compute them again by hand."""
    rules = account.rules
    used = {h.terms.symbol for h in account.positions}
    for pair in _rates(account, market).values():
        used |= {name.removeprefix("1/") for name in pair["over"]}
    quotes = {s: market.quotes[s] for s in sorted(used) if s in market.quotes}
    return {
        "prices": {s: {"bid": plain(q.bid), "ask": plain(q.ask), "ts": q.ts} for s, q in quotes.items()},
        "rates": _rates(account, market),
        "levels": {
            "margin_call": plain(rules.margin_call),
            "stop_out": plain(rules.stop_out),
            "in": "money" if rules.in_money else "percent",
            "margin_call_equity": shown(equity_at(rules.margin_call, valuation, rules), rules.currency),
            "stop_out_equity": shown(equity_at(rules.stop_out, valuation, rules), rules.currency),
        },
        "positions": [_position(h, valuation, market, rules) for h in account.positions],
        "orders": [
            {"id": o.id, "symbol": o.terms.symbol, "side": SIDE_NAMES[o.side], "margin": plain(o.margin)}
            for o in account.orders
        ],
        "before": numbers(valuation, rules),
    }


def level_text(valuation: Valuation, rules: Rules, level: Decimal) -> str:
    """Describe in one sentence where the account stands against a level."""
    currency = rules.currency
    stands = f"equity {shown(valuation.equity, currency)}, used margin {shown(valuation.used, currency)} {currency}"
    if rules.in_money:
        return f"{stands}; the level is an equity of {shown(level, currency)} {currency}"
    at = "no margin level" if valuation.level is None else f"margin level {percent(valuation.level)} %"
    return f"{at}, {stands}; the level is {plain(level)} %"


def holding_text(holding: Holding) -> str:
    verb = "bought" if holding.side == BUY else "sold"
    return f"{plain(holding.quantity)} {holding.terms.symbol} {verb} at {plain(holding.price)}"
