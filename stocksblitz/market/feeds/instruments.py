"""The instruments a feed needs: made when they are not there, and left as they are when they are."""

from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async

from stocksblitz.market.models import Instrument


@sync_to_async
def ensure_instruments(rows: Sequence[dict[str, Any]]) -> None:
    """Make those of the instruments that do not exist."""
    Instrument.objects.bulk_create([Instrument(**row) for row in rows], ignore_conflicts=True)
