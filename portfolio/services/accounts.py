"""Every write to accounts, positions and orders that a person asks for. The engine's own are in
`margin_enforcement`.
"""

import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from portfolio.margin.explanation import shown
from portfolio.margin.margin import opening_margin, value
from portfolio.margin.order_rules import triggered, with_order, with_position
from portfolio.margin.size_limits import check_size, check_step
from portfolio.margin.types import Holding, MarketPrices, Quote, money
from portfolio.models import KEY_PATTERN, Account, Fill, LedgerEntry, Order, Position
from portfolio.services.account_lock import changing
from portfolio.services.execution import Execution, commission, frozen
from portfolio.services.loader import load_one, rules_of, side_of, symbols_of
from portfolio.services.prices import priced, read_market, read_quotes, terms_of
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.models import Instrument
from stocksblitz.market.quotes.config import FEED_ACCOUNT
from stocksblitz.market.quotes.current_price import get_instrument_current_price_sync
from stocksblitz.workers.runtime import now_ms

_DERIVED_FIELDS = {"user_type", "number", "shard"}
"""Set from the key when the account is saved."""


def invalid(message: str) -> StocksBlitzError:
    return StocksBlitzError("invalid_parameter", message)


def check_key(key: str) -> str:
    """A key of a configured type; StocksBlitzError ``invalid_parameter`` if it is none."""
    kinds = settings.PORTFOLIO_USER_TYPES
    if not re.fullmatch(KEY_PATTERN, key, re.ASCII) or key.partition(":")[0] not in kinds:
        raise invalid(f"key: expected {' or '.join(f'{kind}:NUMBER' for kind in kinds)}, got {key[:60]!r}")
    return key


def get_instrument(symbol: str) -> Instrument:
    found = Instrument.objects.filter(symbol=symbol, active=True).first()
    if found is None:
        raise StocksBlitzError(
            "unknown_symbol", f"{symbol[:40]!r} is no instrument here: GET /api/market/symbols lists them"
        )
    return found


def check_account(account: Account) -> None:
    """Refuse an account whose fields or levels are invalid; StocksBlitzError ``invalid_parameter`` says why."""
    try:
        account.full_clean(exclude=_DERIVED_FIELDS, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise invalid("; ".join(error.messages)) from None


def open_account(*, key: str, owner: User, currency: str, balance: Decimal, **terms: Any) -> Account:
    """Create an account with its first deposit booked."""
    account = Account(key=check_key(key), owner=owner, currency=currency, **terms)
    check_account(account)
    with transaction.atomic():
        try:
            with transaction.atomic():
                account.save(force_insert=True)
        except IntegrityError:
            raise StocksBlitzError(
                "conflict", f"there is an account {key!r} already: choose another number"
            ) from None
        with changing(key) as change:
            change.touched = True
            if balance:
                change.book(LedgerEntry.Kind.DEPOSIT, balance, "opening")
        return change.account


def change_account(*, key: str, **terms: Any) -> Account:
    """Change levels, group, leverage …; what is frozen on positions stays."""
    with changing(key) as change:
        for name, new in terms.items():
            setattr(change.account, name, new)
        check_account(change.account)
        change.account.save(update_fields=list(terms))
        change.touched = True
    return change.account


def deposit(
    *, key: str, amount: Decimal, reference: str, note: str = "", allow_negative_balance: bool = False
) -> Account:
    """Pay in, or out when negative; a reference is booked once.

    StocksBlitzError ``conflict`` when the account has less than is taken out, unless that is explicitly allowed.
    """
    with changing(key) as change:
        balance, currency = change.account.balance, change.account.currency
        booked = money(amount, currency)
        if not booked:
            raise invalid(f"amount: expected more than nothing, this is {shown(booked, currency)} {currency}")
        if booked < 0 and balance + booked < 0 and not allow_negative_balance:
            raise StocksBlitzError(
                "conflict",
                f"the account has {shown(balance, currency)} {currency}, less than {shown(-booked, currency)}: "
                "take out less, or send allow_negative_balance",
            )
        if LedgerEntry.objects.filter(account=change.account, reference=f"deposit:{reference}").exists():
            raise StocksBlitzError("conflict", f"the reference {reference!r} was booked already")
        change.book(LedgerEntry.Kind.DEPOSIT, amount, f"deposit:{reference}", note)
    return change.account


def current_quote(key: str, symbol: str) -> Quote:
    """The price at which paper orders of the account are executed.

    StocksBlitzError ``unavailable`` when there is none, when it is stale, or when it is not for this type
    of account.
    """
    kind = key.partition(":")[0]
    if not priced(kind):
        raise StocksBlitzError(
            "unavailable", f"{kind} accounts are not traded on simulated prices: use a demo account"
        )
    price = get_instrument_current_price_sync(settings.PORTFOLIO_QUOTE_ACCOUNT, symbol)
    until = price.fresh_until or price.ts + settings.PORTFOLIO_PRICE_STALE_MS
    if now_ms() > until:
        raise StocksBlitzError(
            "unavailable", f"the price of {symbol} is stale: its feed is silent, try again later"
        )
    low, high = (price.price if side is None else side for side in (price.bid, price.ask))
    try:
        quote = Quote(Decimal(repr(low)), Decimal(repr(high)), price.ts)
    except InvalidOperation:
        raise StocksBlitzError(
            "unavailable", f"the price of {symbol} is not a number: try again later"
        ) from None
    if not 0 < quote.bid <= quote.ask:
        raise StocksBlitzError("unavailable", f"the price of {symbol} is crossed or zero: try again later")
    return _newest(symbol, quote)


def _newest(symbol: str, quote: Quote) -> Quote:
    """What was asked for may be a second old; the feed, where it is the one asked, may have written a newer one."""
    if settings.PORTFOLIO_QUOTE_ACCOUNT != FEED_ACCOUNT:
        return quote
    written = read_quotes([symbol]).get(symbol)
    return written if written is not None and written.fresh and written.ts >= quote.ts else quote


def book_position(*, key: str, symbol: str, side: str, quantity: Decimal, price: Decimal) -> Position:
    """A position as it was booked elsewhere: at its own price, without a look at free margin."""
    instrument = get_instrument(symbol)
    with changing(key) as change:
        market = _market(change.account, symbol)
        fills = Execution(change, instrument, market, reason="booked").fill(side, quantity, price)
    return fills[-1].position


def close_position(*, key: str, position_id: int, quantity: Decimal | None, quote: Quote) -> Fill:
    """Close a position, or so many of its lots, at the quote."""
    with changing(key) as change:
        held = (
            Position.objects.select_related("instrument")
            .filter(account=change.account, pk=position_id)
            .first()
        )
        if held is None:
            raise StocksBlitzError("not_found", f"the account has no position {position_id}")
        if held.status != Position.Status.OPEN:
            raise StocksBlitzError("conflict", f"position {position_id} is closed already")
        lots = held.quantity if quantity is None else quantity
        if not 0 < lots <= held.quantity:
            raise invalid(
                f"quantity: expected more than 0 and at most {held.quantity.normalize():f}, got {lots}"
            )
        if lots != held.quantity:
            check_step(lots, held.instrument.lot_size, "quantity", "lot size")
        market = _market(change.account, held.instrument.symbol, quote)
        price = quote.bid if held.side == "buy" else quote.ask
        return Execution(change, held.instrument, market).close(held, lots, price)


def place_order(
    *, key: str, symbol: str, side: str, quantity: Decimal, kind: str, price: Decimal | None, quote: Quote
) -> Order:
    """Execute at the quote, or keep the order until its price comes.

    StocksBlitzError ``conflict`` when free margin is not enough, ``unavailable`` while the account cannot
    be valued.
    """
    if (kind == Order.Type.MARKET) != (price is None):
        raise invalid("price: expected one for a limit or stop order, and none for a market order")
    instrument = get_instrument(symbol)
    check_step(quantity, instrument.lot_size, "quantity", "lot size")
    if price is not None:
        check_step(price, instrument.tick_size, "price", "tick size")
    with changing(key) as change:
        market = _market(change.account, symbol, quote)
        at_once = price is None or triggered(kind, side_of(side), price, quote)
        limit = price if price is not None and not at_once else quote.ask if side == "buy" else quote.bid
        holding = Holding(0, terms_of(instrument), side_of(side), quantity, limit)
        margin = check_free_margin(change.account, holding, market, pending=not at_once)
        order = Order(
            account=change.account,
            instrument=instrument,
            side=side,
            type=kind,
            quantity=quantity,
            price=price,
        )
        if at_once:
            execute(change, order, market, limit)
        else:
            order.margin = margin
            order.save()
            change.touch(symbol)
    return order


def execute(change: Any, order: Order, market: MarketPrices, price: Decimal) -> None:
    """Fill an order at a price and mark it as done."""
    order.status, order.filled_price, order.done_at = Order.Status.FILLED, price, timezone.now()
    order.margin = None
    order.save()
    Execution(change, order.instrument, market, order=order).fill(order.side, order.quantity, price)


def check_free_margin(
    account: Account, holding: Holding, market: MarketPrices, *, pending: bool
) -> Decimal | None:
    """Refuse what would need more margin than is free; returns the margin of the holding by itself."""
    check_size(holding, market)
    rules, now = rules_of(account), load_one(account)
    margin = opening_margin(holding, rules, market, opened=not pending)
    before = value(now, market)
    if margin is None or before.stale or before.equity is None or before.used is None:
        missing = ", ".join(before.missing) or "a fresh price"
        raise StocksBlitzError(
            "unavailable", f"the account cannot be valued now, it lacks {missing}: try again later"
        )
    held = replace(holding, margin=frozen(margin))
    after = value((with_order if pending else with_position)(now, held), market).used
    fee = commission(account, holding.terms, holding.quantity, holding.price, market)
    if after is None or (after + fee > before.equity and after > before.used):
        free, needed = shown(before.free, rules.currency), shown(margin + fee, rules.currency)
        text = f"{free} {rules.currency} are free, this needs {needed}"
        raise StocksBlitzError("conflict", f"not enough free margin: {text}")
    return held.margin


def cancel_order(*, key: str, order_id: int, reason: str = "by the owner") -> Order:
    """Take back a pending order."""
    with changing(key) as change:
        pending = Order.objects.filter(account=change.account, pk=order_id, status=Order.Status.PENDING)
        if (
            pending.update(status=Order.Status.CANCELLED, reason=reason, margin=None, done_at=timezone.now())
            != 1
        ):
            raise StocksBlitzError("not_found", f"the account has no pending order {order_id}")
        order = Order.objects.select_related("instrument").get(pk=order_id)
        change.touch(order.instrument.symbol)
    return order


def _market(account: Account, symbol: str, quote: Quote | None = None) -> MarketPrices:
    """The prices of all that the account holds, with the quote at which it trades now."""
    market = read_market({symbol, *symbols_of(load_one(account))}, account.user_type)
    return market if quote is None else MarketPrices({**market.quotes, symbol: quote}, market.graph)
