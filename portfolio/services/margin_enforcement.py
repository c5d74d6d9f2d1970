"""What the engine does to an account by itself: margin call, stop-out, pending orders whose price has come.

The columns only say which accounts to look at. Here the account is locked, prices are read again, and the
oracle decides; two engines, a retry or a restart find the account as the first one left it.
"""

import logging
from decimal import Decimal

from django.utils import timezone

from portfolio.margin import explanation, levels
from portfolio.margin.margin import mark, value
from portfolio.margin.order_rules import triggered
from portfolio.margin.types import Holding, MarketPrices
from portfolio.models import Account, MarginEvent, Order, Position
from portfolio.services.account_lock import Change, changing
from portfolio.services.accounts import check_free_margin, execute
from portfolio.services.announcements import announce_event
from portfolio.services.execution import Execution
from portfolio.services.loader import load_one, rules_of, side_of, symbols_of
from portfolio.services.prices import priced, read_market, terms_of
from stocksblitz.api.errors import StocksBlitzError

log = logging.getLogger(__name__)

HYSTERESIS = Decimal("1.01")
"""The owner is notified of the end of a margin call once equity is a percent above it, and not at every tick."""


def enforce(key: str) -> list[MarginEvent]:
    """Act on the account's margin level as it is now; returns what was decided, in order.

    Nothing is done while a price or rate that the account depends on is missing or stale.
    """
    with changing(key) as change:
        if not priced(change.account.user_type):
            return []
        return _Enforcement(change).run()


class _Enforcement:
    def __init__(self, change: Change) -> None:
        self.change = change
        self.account: Account = change.account
        self.rules = rules_of(self.account)
        self.events: list[MarginEvent] = []
        # Read after the lock was had: however long that took, the prices are of now.
        self.market = read_market(symbols_of(load_one(self.account)), self.account.user_type)
        self._look()

    def _look(self) -> None:
        self.holdings = load_one(self.account)
        self.valuation = value(self.holdings, self.market)
        self.state = levels.state(self.valuation, self.rules)

    def run(self) -> list[MarginEvent]:
        if self.state == levels.STALE:
            return []
        if self.state == levels.STOP_OUT and levels.next_to_close(self.holdings, self.valuation):
            self._stop_out()
        else:
            self._notify()
        return self.events

    def _notify(self) -> None:
        """Record a margin call or its end, each once."""
        last_notified_state = self.account.state
        if self.state != levels.OK and last_notified_state == levels.OK:
            text = explanation.level_text(self.valuation, self.rules, self.rules.margin_call)
            self._event(
                MarginEvent.Kind.MARGIN_CALL, f"margin_call:{self.account.revision}", f"Margin call: {text}."
            )
        elif self.state == levels.OK and last_notified_state != levels.OK and self._well_above():
            text = explanation.level_text(self.valuation, self.rules, self.rules.margin_call)
            self._event(
                MarginEvent.Kind.RESTORED, f"restored:{self.account.revision}", f"Margin restored: {text}."
            )
        else:
            return
        self._settle()

    def _well_above(self) -> bool:
        line = levels.equity_at(self.rules.margin_call, self.valuation, self.rules)
        equity = self.valuation.equity
        return line is None or equity is None or equity > line * (HYSTERESIS if line > 0 else 1)

    def _settle(self) -> None:
        self.account.state = self.state
        self.change.touched = True

    def _stop_out(self) -> None:
        """Orders with the most margin first, then the largest loss, until the account is above the level."""
        before = explanation.inputs(self.holdings, self.valuation, self.market)
        text = explanation.level_text(self.valuation, self.rules, self.rules.stop_out)
        event = self._event(
            MarginEvent.Kind.STOP_OUT, f"stop_out:{self.account.revision}", f"Stop-out: {text}."
        )
        while self.state == levels.STOP_OUT:
            target = levels.next_to_close(self.holdings, self.valuation)
            if target is None:
                break
            (self._cancel if target[0] == "order" else self._close)(target[1])
        event.inputs = {
            **before,
            "after": explanation.numbers(self.valuation, self.rules),
            "steps": len(self.events) - 1,
        }
        event.save(update_fields=["inputs"])
        self._settle()

    def _cancel(self, order_id: int) -> None:
        order = next(o for o in self.holdings.orders if o.id == order_id)
        before = explanation.inputs(self.holdings, self.valuation, self.market)
        pending = Order.objects.filter(pk=order_id, status=Order.Status.PENDING)
        changed = pending.update(
            status=Order.Status.CANCELLED, reason="stop-out", margin=None, done_at=timezone.now()
        )
        if changed != 1:
            raise StocksBlitzError("conflict", f"order {order_id} was taken by another process")
        self.change.touch(order.terms.symbol)
        self._look()
        text = (
            f"Order {order_id} cancelled: it reserved {explanation.shown(order.margin, self.rules.currency)}"
        )
        text += f" {self.rules.currency}, the most of all pending orders."
        self._event(MarginEvent.Kind.ORDER_CANCELLED, f"order:{order_id}:cancelled", text, before)

    def _close(self, position_id: int) -> None:
        held = Position.objects.select_related("instrument").get(pk=position_id)
        holding = next(p for p in self.holdings.positions if p.id == position_id)
        loss = self.valuation.profits[position_id]
        before = explanation.inputs(self.holdings, self.valuation, self.market)
        price = mark(holding.side, self.market.quotes[holding.terms.symbol], mid=False)
        Execution(self.change, held.instrument, self.market, reason="stop_out").close(
            held, held.quantity, price
        )
        self._look()
        text = f"Position {position_id} ({explanation.holding_text(holding)}) closed at {explanation.plain(price)}:"
        text += f" its result of {explanation.shown(loss, self.rules.currency)} {self.rules.currency} was the worst."
        self._event(MarginEvent.Kind.POSITION_CLOSED, f"position:{position_id}:stop_out", text, before)

    def _event(
        self, kind: str, reference: str, text: str, before: dict[str, object] | None = None
    ) -> MarginEvent:
        inputs = before or explanation.inputs(self.holdings, self.valuation, self.market)
        after = {"after": explanation.numbers(self.valuation, self.rules)}
        event = MarginEvent.objects.create(
            account=self.account, kind=kind, reference=reference, text=text, inputs={**inputs, **after}
        )
        self.change.touched = True
        self.events.append(event)
        announce_event(event)
        log.info("%s %s", self.account.key, text, extra={"action": kind, "account": self.account.key})
        return event


def trigger(key: str) -> list[Order]:
    """Execute the account's pending orders whose price has come; returns them, filled or rejected.

    StocksBlitzError ``unavailable``, and nothing done, while the account cannot be valued: its orders wait.
    """
    with changing(key) as change:
        if not priced(change.account.user_type):
            return []
        account = change.account
        pending = Order.objects.filter(account=account, status=Order.Status.PENDING).select_related(
            "instrument"
        )
        market = read_market(symbols_of(load_one(account)), account.user_type)
        return [order for order in pending if _due(order, market) and _fill(change, order, market)]


def _due(order: Order, market: MarketPrices) -> bool:
    quote = market.quotes.get(order.instrument.symbol)
    if quote is None or not quote.fresh or order.price is None:
        return False
    return triggered(order.type, side_of(order.side), order.price, quote)


def _fill(change: Change, order: Order, market: MarketPrices) -> bool:
    """Take the order (whoever comes second gets none), then execute it, or reject it where margin is short."""
    taken = Order.objects.filter(pk=order.pk, status=Order.Status.PENDING)
    if taken.update(status=Order.Status.FILLED, margin=None) != 1:
        return False
    quote = market.quotes[order.instrument.symbol]
    price = mark(-side_of(order.side), quote, mid=False)
    change.touch(order.instrument.symbol)
    try:
        holding = Holding(0, terms_of(order.instrument), side_of(order.side), order.quantity, price)
        check_free_margin(change.account, holding, market, pending=False)
    except StocksBlitzError as error:
        if error.retryable:
            raise
        order.status, order.reason, order.done_at = Order.Status.REJECTED, error.message[:120], timezone.now()
        order.margin = None
        order.save(update_fields=["status", "reason", "done_at", "margin"])
        _note(change, order, MarginEvent.Kind.ORDER_REJECTED, f"rejected: {error.message}")
        return True
    execute(change, order, market, price)
    _note(change, order, MarginEvent.Kind.ORDER_FILLED, f"filled at {explanation.plain(price)}")
    return True


def _note(change: Change, order: Order, kind: str, outcome: str) -> None:
    text = f"{order.type.capitalize()} order {order.pk} ({order.side} {explanation.plain(order.quantity)}"
    text += f" {order.instrument.symbol} at {explanation.plain(order.price)}) {outcome}."
    reference = f"order:{order.pk}:done"
    announce_event(
        MarginEvent.objects.create(
            account=change.account, kind=kind, reference=reference, text=text[:300], inputs={}
        )
    )
