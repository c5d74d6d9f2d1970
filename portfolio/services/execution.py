"""What a fill does to an account: opens, adds, closes in part, flips. Called with the account locked."""

from decimal import Decimal

from django.utils import timezone

from portfolio.margin.margin import converted, gain, opening_margin
from portfolio.margin.size_limits import MOST_LOTS, MOST_MONEY, bounded, check_size
from portfolio.margin.types import ZERO, Holding, MarketPrices, Terms
from portfolio.models import Account, Fill, LedgerEntry, Order, Position
from portfolio.services.account_lock import Change
from portfolio.services.loader import rules_of, side_of
from portfolio.services.prices import terms_of
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.models import Instrument

MONEY_PLACES, PRICE_PLACES = Decimal("1e-8"), Decimal("1e-10")


def frozen(margin: Decimal) -> Decimal:
    """A margin as it is kept on a position or an order."""
    return bounded(margin, MOST_MONEY, "the margin").quantize(MONEY_PLACES)


class Execution:
    """Fills in one instrument for one change of an account, with the prices of one market."""

    def __init__(
        self,
        change: Change,
        instrument: Instrument,
        market: MarketPrices,
        *,
        order: Order | None = None,
        reason: str = "order",
    ) -> None:
        self.change = change
        self.account = change.account
        self.instrument = instrument
        self.terms = terms_of(instrument)
        self.rules = rules_of(change.account)
        self.market = market
        self.order = order
        self.reason = reason

    def fill(self, side: str, quantity: Decimal, price: Decimal) -> list[Fill]:
        """Buy or sell at a price. A hedging account opens a position; a netting one adds to, closes or
        flips its own.
        """
        held = self._netted() if self.account.position_mode == Account.PositionMode.NETTING else None
        if held is None:
            return [self._open(side, quantity, price)]
        if held.side == side:
            return [self._add(held, quantity, price)]
        closing = min(quantity, held.quantity)
        fills = [self.close(held, closing, price)]
        if quantity > closing:
            fills.append(self._open(side, quantity - closing, price))
        return fills

    def _netted(self) -> Position | None:
        return Position.objects.filter(
            account=self.account, instrument=self.instrument, status=Position.Status.OPEN
        ).first()

    def _margin(self, side: str, quantity: Decimal, price: Decimal) -> Decimal | None:
        holding = Holding(0, self.terms, side_of(side), quantity, price)
        margin = opening_margin(holding, self.rules, self.market)
        return None if margin is None else frozen(margin)

    def _check(self, side: str, quantity: Decimal, price: Decimal) -> None:
        check_size(Holding(0, self.terms, side_of(side), quantity, price), self.market)

    def _open(self, side: str, quantity: Decimal, price: Decimal) -> Fill:
        self._check(side, quantity, price)
        position = Position.objects.create(
            account=self.account,
            instrument=self.instrument,
            side=side,
            quantity=quantity,
            opened_quantity=quantity,
            price=price,
            margin=self._margin(side, quantity, price),
        )
        return self._record(position, side, quantity, price, opening=True)

    def _add(self, held: Position, quantity: Decimal, price: Decimal) -> Fill:
        """More of the same: the price becomes the average, the margin of what is added is frozen beside the
        rest.
        """
        total, opened = held.quantity + quantity, held.opened_quantity + quantity
        self._check(held.side, total, max(held.price, price))
        bounded(opened, MOST_LOTS, "lots ever opened")
        added = self._margin(held.side, quantity, price)
        margin = None if added is None or held.margin is None else held.margin + added
        average = (held.price * held.quantity + price * quantity) / total
        self._update(
            held,
            quantity=total,
            opened_quantity=opened,
            price=average.quantize(PRICE_PLACES),
            margin=None if margin is None else frozen(margin),
        )
        return self._record(held, held.side, quantity, price, opening=True)

    def close(self, held: Position, quantity: Decimal, price: Decimal) -> Fill:
        """Close so much of a position at a price and book what it earned.

        StocksBlitzError: ``conflict`` when somebody else closed it first, ``unavailable`` when no rate is
        known.
        """
        earned = gain(Holding(held.pk, self.terms, side_of(held.side), quantity, held.price), price)
        amount = converted(earned, self.terms.currency, self.rules.currency, self.market, mid=self.rules.mid)
        if amount is None:
            raise _no_rate(self.terms.currency, self.rules.currency)
        left = held.quantity - quantity
        reference = f"close:{held.pk}:{held.version}"
        booked = self.change.book(
            LedgerEntry.Kind.TRADE, amount, reference, f"{quantity.normalize():f} at {price.normalize():f}"
        )
        done = {"status": Position.Status.CLOSED, "closed_at": timezone.now()} if not left else {}
        margin = None if held.margin is None else (held.margin * left / held.quantity).quantize(MONEY_PLACES)
        self._update(held, quantity=left, margin=margin, realized_pnl=held.realized_pnl + booked, **done)
        side = "sell" if held.side == "buy" else "buy"
        return self._record(held, side, quantity, price, opening=False, realized=booked)

    def _update(self, held: Position, **fields: object) -> None:
        """Write a position only if it is still as it was read: whoever comes second changes nothing."""
        same = Position.objects.filter(pk=held.pk, version=held.version, status=Position.Status.OPEN)
        if same.update(version=held.version + 1, **fields) != 1:
            raise StocksBlitzError(
                "conflict", f"position {held.pk} was changed by another request: look at it again"
            )
        held.version += 1
        for name, value in fields.items():
            setattr(held, name, value)

    def _record(
        self,
        position: Position,
        side: str,
        quantity: Decimal,
        price: Decimal,
        *,
        opening: bool,
        realized: Decimal = ZERO,
    ) -> Fill:
        self.change.touch(self.instrument.symbol)
        fill = Fill.objects.create(
            account=self.account,
            order=self.order,
            position=position,
            instrument=self.instrument,
            side=side,
            quantity=quantity,
            price=price,
            opening=opening,
            realized_pnl=realized,
            reason=self.reason,
        )
        self._charge(fill)
        return fill

    def _charge(self, fill: Fill) -> None:
        """Charge the commission of a fill; that of a close takes no more than the account has."""
        fee = commission(self.account, self.terms, fill.quantity, fill.price, self.market)
        if not fill.opening and self.reason != "booked":
            fee = min(fee, max(self.account.balance, ZERO))
        if fee:
            fill.commission = -self.change.book(LedgerEntry.Kind.COMMISSION, -fee, f"commission:{fill.pk}")
            fill.save(update_fields=["commission"])


def commission(
    account: Account, terms: Terms, quantity: Decimal, price: Decimal, market: MarketPrices
) -> Decimal:
    """Return the commission of a trade in the account's currency: the part of its value that the account's group says.

    StocksBlitzError ``unavailable`` when no rate is known.
    """
    rate = account.group.commission_rate if account.group else ZERO
    if not rate:
        return ZERO
    fee = converted(-rate * quantity * terms.contract_size * price, terms.currency, account.currency, market)
    if fee is None:
        raise _no_rate(terms.currency, account.currency)
    return -fee


def _no_rate(source: str, target: str) -> StocksBlitzError:
    return StocksBlitzError("unavailable", f"there is no rate from {source} to {target} now: try again later")
