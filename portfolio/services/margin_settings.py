"""Margin settings of groups and instruments, and the accounts whose figures depend on them.

Staff change them in the admin, or with an ``update()`` that sends no signal: whoever holds accounts in memory compares
the settings with those it read before.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import batched
from typing import Any

from portfolio.models import Account, AccountGroup, Order, Position
from stocksblitz.market.models import Instrument

BATCH = 500
"""Ids in one query: SQLite bounds the parameters of a statement."""
_GROUP_FIELDS = ("margin_call_level", "stop_out_level", "levels_in", "tiers")
_INSTRUMENT_FIELDS = (
    "symbol", "currency", "base_currency", "contract_size", "margin_mode", "margin_rate", "initial_margin",
    "maintenance_margin", "hedged_margin", "hedged_larger_leg",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MarginSettings:
    """Settings by the id of their row."""

    groups: dict[int, tuple[Any, ...]]
    instruments: dict[int, tuple[Any, ...]]


def read_margin_settings() -> MarginSettings:
    """Read the margin settings of all groups and instruments: two queries, however many accounts there are."""
    groups = AccountGroup.objects.values_list("pk", *_GROUP_FIELDS)
    instruments = Instrument.objects.order_by().values_list("pk", *_INSTRUMENT_FIELDS)
    return MarginSettings(
        {pk: tuple(row) for pk, *row in groups}, {pk: tuple(row) for pk, *row in instruments}
    )


def accounts_affected(before: MarginSettings, now: MarginSettings, shards: Collection[int]) -> set[str]:
    """Return the keys of the accounts of these shards that depend on a setting which is not what it was."""
    groups = [pk for pk, row in now.groups.items() if before.groups.get(pk) != row]
    instruments = [pk for pk, row in now.instruments.items() if before.instruments.get(pk) != row]
    keys: set[str] = set()
    for ids in batched(groups, BATCH):
        keys.update(Account.objects.filter(group__in=ids, shard__in=shards).values_list("key", flat=True))
    for ids in batched(instruments, BATCH):
        for held in (
            Position.objects.filter(status=Position.Status.OPEN),
            Order.objects.filter(status=Order.Status.PENDING),
        ):
            found = held.filter(instrument__in=ids, account__shard__in=shards)
            keys.update(found.values_list("account__key", flat=True))
    return keys
