"""Instruments, closed bars and option contracts."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.currencies import is_currency
from stocksblitz.market.core.symbols import SYMBOL_PATTERN

NOT_NEGATIVE = MinValueValidator(Decimal(0))


def validate_currency(code: str) -> None:
    """Refuse what is neither a currency of ISO 4217 nor a known crypto asset."""
    if not is_currency(code):
        raise ValidationError(
            "expected a currency of ISO 4217 such as EUR, or a known crypto asset such as BTC, got %(code)r",
            params={"code": code[:8]},
        )


class Instrument(models.Model):
    """A traded symbol: where it trades, and how its margin is computed."""

    class Kind(models.TextChoices):
        EQUITY = "equity"
        INDEX = "index"
        FOREX = "forex"
        CRYPTO = "crypto"
        FUTURE = "future"
        OPTION = "option"

    class MarginMode(models.TextChoices):
        FOREX = "forex"
        FOREX_NO_LEVERAGE = "forex_no_leverage"
        CFD = "cfd"
        CFD_LEVERAGE = "cfd_leverage"
        FUTURES = "futures"
        STOCK = "stock"

    symbol = models.CharField(
        max_length=32, unique=True, validators=[RegexValidator(rf"\A{SYMBOL_PATTERN}\Z")]
    )
    name = models.CharField(max_length=120, blank=True)
    exchange = models.CharField(max_length=8, help_text="24x7, 24x5 or a market identifier code such as XNSE")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    base_currency = models.CharField(max_length=8, blank=True, validators=[validate_currency])
    currency = models.CharField(
        max_length=8, help_text="The currency of the price", validators=[validate_currency]
    )
    contract_size = models.DecimalField(
        max_digits=20, decimal_places=8, default=1, validators=[MinValueValidator(Decimal("1e-8"))]
    )
    lot_size = models.DecimalField(
        max_digits=20,
        decimal_places=8,
        default=1,
        help_text="Smallest step of a quantity",
        validators=[MinValueValidator(Decimal("1e-8"))],
    )
    tick_size = models.DecimalField(
        max_digits=20,
        decimal_places=10,
        default="0.01",
        help_text="Smallest step of a price",
        validators=[MinValueValidator(Decimal("1e-10"))],
    )
    margin_mode = models.CharField(max_length=20, choices=MarginMode.choices, default=MarginMode.CFD)
    margin_rate = models.DecimalField(max_digits=16, decimal_places=10, default=1, validators=[NOT_NEGATIVE])
    initial_margin = models.DecimalField(
        max_digits=20,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="Margin of one lot, in place of the formula",
        validators=[NOT_NEGATIVE],
    )
    maintenance_margin = models.DecimalField(
        max_digits=20,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="Margin of one lot once it is open (futures)",
        validators=[NOT_NEGATIVE],
    )
    hedged_margin = models.DecimalField(
        max_digits=20,
        decimal_places=8,
        default=0,
        help_text="Of one covered lot: money where a margin of one lot is set, else the contract size to compute with",
        validators=[NOT_NEGATIVE],
    )
    hedged_larger_leg = models.BooleanField(
        default=False, help_text="Charge the larger side alone, not the basic rule"
    )
    feed_symbol = models.CharField(
        max_length=64, blank=True, help_text="What the feed calls it, where that differs"
    )
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["symbol"]
        constraints = [
            models.CheckConstraint(
                condition=Q(contract_size__gt=0, lot_size__gt=0, tick_size__gt=0),
                name="instrument_sizes_above_zero",
            ),
            models.CheckConstraint(
                condition=Q(margin_rate__gte=0, hedged_margin__gte=0)
                & (Q(initial_margin=None) | Q(initial_margin__gte=0))
                & (Q(maintenance_margin=None) | Q(maintenance_margin__gte=0)),
                name="instrument_margins_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return self.symbol


class Bar(models.Model):
    """A closed bar of the real realm; ``ts`` is its opening time in milliseconds UTC."""

    symbol = models.CharField(max_length=32)
    timeframe = models.CharField(max_length=5, choices=[(tf, tf) for tf in TIMEFRAMES])
    ts = models.BigIntegerField()
    session = models.BigIntegerField(help_text="When the session that the bar belongs to opened")
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["symbol", "timeframe", "ts"], name="one_bar_per_opening")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe} {self.ts}"


class OptionContract(models.Model):
    """An option of an underlying; its own prices come under ``instrument``'s symbol."""

    class Right(models.TextChoices):
        CALL = "call"
        PUT = "put"

    instrument = models.OneToOneField(Instrument, on_delete=models.CASCADE, related_name="contract")
    underlying = models.ForeignKey(Instrument, on_delete=models.CASCADE, related_name="options")
    expiry = models.DateTimeField(help_text="The moment of expiry, UTC")
    strike = models.DecimalField(max_digits=20, decimal_places=6)
    right = models.CharField(max_length=4, choices=Right.choices)

    class Meta:
        ordering = ["expiry", "strike", "right"]
        constraints = [
            models.UniqueConstraint(
                fields=["underlying", "expiry", "strike", "right"], name="one_contract_per_strike"
            )
        ]

    def __str__(self) -> str:
        return str(self.instrument)
