"""What may be read of an account, by whom, and its state at this moment."""

import logging
from collections.abc import Collection, Mapping
from decimal import Decimal
from itertools import batched
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet

from portfolio.margin.margin import value
from portfolio.margin.snapshot import snapshot
from portfolio.models import Account
from portfolio.services.loader import load_one, symbols_of
from portfolio.services.prices import read_market
from portfolio.services.snapshots import checked_stamp
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

BATCH = 1000


def visible(user: User) -> QuerySet[Account]:
    """Return the accounts that a user may see: the user's own, or all for staff; none once the user is deactivated."""
    accounts = Account.objects.select_related("group", "owner")
    if not user.is_active:
        return accounts.none()
    return accounts if user.is_staff else accounts.filter(owner=user)


def still_visible(watched: Mapping[int, Collection[str]]) -> tuple[set[int], set[tuple[int, str]]]:
    """Return the users that are active, and the (user, account) pairs that these may still see.

    ``watched`` has the keys of accounts by user id. Two queries for every thousand, however many watch.
    """
    users: dict[int, bool] = {}
    for ids in batched(watched, BATCH):
        users |= dict(User.objects.filter(pk__in=ids, is_active=True).values_list("pk", "is_staff"))
    owners: dict[str, int] = {}
    for keys in batched({key for accounts in watched.values() for key in accounts}, BATCH):
        owners |= dict(Account.objects.filter(key__in=keys).values_list("key", "owner_id"))
    pairs = {
        (user, key)
        for user, is_staff in users.items()
        for key in watched[user]
        if key in owners and (is_staff or owners[key] == user)
    }
    return set(users), pairs


def get_account(user: User, key: str, *, doing: str) -> Account:
    """Return the account, if it is the user's or the user is staff; staff's access is logged.

    StocksBlitzError ``not_found`` otherwise: an account of somebody else is as one that is not there.
    """
    found = visible(user).filter(key=key).first()
    if found is None:
        raise StocksBlitzError("not_found", f"there is no account {key[:60]!r} of yours")
    if found.owner_id != user.pk:
        extra = {"action": "staff_access", "user": user.get_username(), "account": key, "doing": doing}
        log.info("staff reads or changes an account of somebody else", extra=extra)
    return found


def current_snapshot(account: Account, shocks: dict[str, Decimal] | None = None) -> dict[str, Any]:
    """Value the account by the oracle with the prices of now, shocked where asked (a share by symbol;
    ``*``: all).

    ``version`` and ``epoch`` are those of the engine's last snapshot, 0 where it has written none.
    """
    holdings = load_one(account)
    market = read_market(symbols_of(holdings), account.user_type)
    if shocks:
        market = market.shocked(shocks)
    [written] = sync_client().mget([current_keys().snapshot(account.key)])  # None for a key of another type
    epoch, version = checked_stamp(written, account.key)
    stamp = {"version": version, "epoch": epoch, "ts": now_ms(), "source": settings.FEED.name}
    return snapshot(account.key, holdings, value(holdings, market), market, **stamp)
