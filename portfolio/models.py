"""Accounts, positions, orders and what happened to them: the truth of the portfolio."""

from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from stocksblitz.market.models import NOT_NEGATIVE, Instrument, validate_currency
from stocksblitz.workers.leases import shard_of

KEY_PATTERN = r"[a-z][a-z0-9_]{0,15}:[A-Za-z0-9_-]{1,32}"


def _money(**options: Any) -> models.DecimalField:
    return models.DecimalField(max_digits=24, decimal_places=8, **options)


def _price(**options: Any) -> models.DecimalField:
    return models.DecimalField(max_digits=24, decimal_places=10, **options)


def _quantity(**options: Any) -> models.DecimalField:
    return models.DecimalField(max_digits=20, decimal_places=8, **options)


def _level(help_text: str) -> models.DecimalField:
    return models.DecimalField(
        max_digits=16,
        decimal_places=4,
        null=True,
        blank=True,
        help_text=help_text,
        validators=[NOT_NEGATIVE],
    )


class Levels(NamedTuple):
    """Margin call and stop-out as they hold for an account: percent, or an equity where ``in_money``."""

    margin_call: Decimal
    stop_out: Decimal
    in_money: bool


def _check_levels(levels: Levels, of: str) -> None:
    if not levels.stop_out < levels.margin_call:
        raise ValidationError(
            f"stop_out_level: expected less than the margin call level, but {of} has a margin call at "
            f"{levels.margin_call.normalize():f} and a stop-out at {levels.stop_out.normalize():f}"
        )


class Side(models.TextChoices):
    BUY = "buy"
    SELL = "sell"


class LevelsIn(models.TextChoices):
    PERCENT = "percent"
    MONEY = "money"


class AccountGroup(models.Model):
    """Levels and terms that accounts share where they have none of their own."""

    name = models.CharField(max_length=64, unique=True)
    margin_call_level = _level("Empty: the server's")
    stop_out_level = _level("Empty: the server's")
    levels_in = models.CharField(max_length=7, choices=LevelsIn.choices, default=LevelsIn.PERCENT)
    commission_rate = models.DecimalField(
        max_digits=12, decimal_places=8, default=0, help_text="Part of the value"
    )
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text='[["10", "1"], ["10", "2"]]: margin of each next lots times a factor',
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse levels that would put the stop-out of the group, or of an account in it, above its margin call."""
        _check_levels(effective_levels(self), "the group")
        one_own = Q(margin_call_level=None, stop_out_level__isnull=False)
        one_own |= Q(margin_call_level__isnull=False, stop_out_level=None)
        for account in self.accounts.filter(one_own) if self.pk else ():
            _check_levels(effective_levels(account, self), account.key)


def effective_levels(*sources: "AccountGroup | Account | None") -> Levels:
    """Return the levels of the first source (an account, then its group) that has each, else the server's."""

    def first(name: str, default: str) -> Decimal:
        found = (getattr(source, name) for source in sources if source is not None)
        return Decimal(next((level for level in found if level is not None), default))

    levels_in = next(
        (source.levels_in for source in sources if source and source.levels_in), LevelsIn.PERCENT
    )
    return Levels(
        first("margin_call_level", settings.PORTFOLIO_MARGIN_CALL_LEVEL),
        first("stop_out_level", settings.PORTFOLIO_STOP_OUT_LEVEL),
        levels_in == LevelsIn.MONEY,
    )


class Account(models.Model):
    """Money of one owner in one currency, and the rules by which it is valued."""

    class PositionMode(models.TextChoices):
        HEDGING = "hedging"
        NETTING = "netting"

    class Marking(models.TextChoices):
        SIDED = "sided", "long at bid, short at ask"
        MID = "mid", "at the middle"

    class MarginPolicy(models.TextChoices):
        FROZEN = "frozen", "as it was at the opening"
        FLOATING = "floating", "at the current price"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="accounts")
    group = models.ForeignKey(
        AccountGroup, on_delete=models.PROTECT, null=True, blank=True, related_name="accounts"
    )
    user_type = models.CharField(max_length=16, help_text="live, demo, or a type of PORTFOLIO_USER_TYPES")
    number = models.CharField(max_length=32)
    key = models.CharField(max_length=49, unique=True, validators=[RegexValidator(rf"\A{KEY_PATTERN}\Z")])
    currency = models.CharField(max_length=8, validators=[validate_currency])
    balance = _money(default=Decimal(0))
    leverage = models.PositiveIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(5000)]
    )
    position_mode = models.CharField(max_length=7, choices=PositionMode.choices, default=PositionMode.HEDGING)
    marking = models.CharField(max_length=5, choices=Marking.choices, default=Marking.SIDED)
    margin_policy = models.CharField(max_length=8, choices=MarginPolicy.choices, default=MarginPolicy.FROZEN)
    margin_call_level = _level("Empty: the group's")
    stop_out_level = _level("Empty: the group's")
    levels_in = models.CharField(
        max_length=7, choices=LevelsIn.choices, blank=True, help_text="Empty: the group's"
    )
    state = models.CharField(
        max_length=16, default="ok", help_text="The margin level of which the owner was last notified"
    )
    shard = models.PositiveSmallIntegerField(editable=False, db_index=True)
    revision = models.BigIntegerField(
        default=0, editable=False, help_text="Grows with every change of what it holds"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.key:
            self.key = f"{self.user_type}:{self.number}"
        self.user_type, _, self.number = self.key.partition(":")
        self.shard = shard_of(self.key)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse a stop-out level that is not below the margin call level."""
        _check_levels(effective_levels(self, self.group), "the account")


class Position(models.Model):
    """What an account holds, or held. ``margin`` is what was frozen at the opening, empty where no rate was
    known.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="positions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="positions")
    side = models.CharField(max_length=4, choices=Side.choices)
    quantity = _quantity(help_text="Lots still open")
    opened_quantity = _quantity()
    price = _price(help_text="Average price of the opening")
    margin = _money(null=True, blank=True)
    status = models.CharField(max_length=6, choices=Status.choices, default=Status.OPEN)
    realized_pnl = _money(default=Decimal(0), help_text="In the account's currency")
    version = models.BigIntegerField(default=0, editable=False)
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["account", "status"]), models.Index(fields=["instrument", "status"])]
        permissions = [("book_position", "Can book positions with an API key, as they were booked elsewhere")]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.instrument_id} #{self.pk}"


class Order(models.Model):
    """An order and what became of it. A pending one reserves ``margin``."""

    class Type(models.TextChoices):
        MARKET = "market"
        LIMIT = "limit"
        STOP = "stop"

    class Status(models.TextChoices):
        PENDING = "pending"
        FILLED = "filled"
        CANCELLED = "cancelled"
        REJECTED = "rejected"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="orders")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="orders")
    side = models.CharField(max_length=4, choices=Side.choices)
    type = models.CharField(max_length=6, choices=Type.choices)
    quantity = _quantity()
    price = _price(null=True, blank=True, help_text="Of a limit or stop order")
    margin = _money(null=True, blank=True)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=120, blank=True, help_text="Why it was cancelled or rejected")
    filled_price = _price(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["account", "status"]), models.Index(fields=["status", "instrument"])]

    def __str__(self) -> str:
        return f"{self.type} {self.side} {self.quantity} {self.instrument_id} #{self.pk}"


class Fill(models.Model):
    """One execution. What it closed earned ``realized_pnl``; what it opened earned nothing yet."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="fills")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, null=True, blank=True, related_name="fills")
    position = models.ForeignKey(Position, on_delete=models.PROTECT, related_name="fills")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="fills")
    side = models.CharField(max_length=4, choices=Side.choices)
    quantity = _quantity()
    price = _price()
    opening = models.BooleanField()
    realized_pnl = _money(default=Decimal(0))
    commission = _money(default=Decimal(0))
    reason = models.CharField(max_length=16, default="order")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["account", "id"])]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} at {self.price}"


class LedgerEntry(models.Model):
    """One change of a balance; ``reference`` is unique, so that no change is booked twice."""

    class Kind(models.TextChoices):
        DEPOSIT = "deposit"
        TRADE = "trade"
        COMMISSION = "commission"
        CORRECTION = "correction"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="ledger")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    amount = _money()
    balance = _money(help_text="After it")
    reference = models.CharField(max_length=80)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "ledger entries"
        constraints = [models.UniqueConstraint(fields=["account", "reference"], name="booked_once")]

    def __str__(self) -> str:
        return f"{self.amount} {self.reference}"


class MarginEvent(models.Model):
    """A decision about an account's margin with everything that led to it."""

    class Kind(models.TextChoices):
        MARGIN_CALL = "margin_call"
        RESTORED = "restored"
        STOP_OUT = "stop_out"
        ORDER_CANCELLED = "order_cancelled"
        POSITION_CLOSED = "position_closed"
        ORDER_FILLED = "order_filled"
        ORDER_REJECTED = "order_rejected"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    reference = models.CharField(max_length=80, help_text="What it is about, once")
    text = models.CharField(max_length=300)
    inputs = models.JSONField(help_text="Prices, rates, and the numbers before and after")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["account", "reference"], name="decided_once")]

    def __str__(self) -> str:
        return self.text


class IdempotencyKey(models.Model):
    """A request that moved money, and its answer for whoever sends it again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=128)
    digest = models.CharField(max_length=64, help_text="Of the request")
    status = models.PositiveSmallIntegerField()
    answer = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="once_per_key")]

    def __str__(self) -> str:
        return self.key
