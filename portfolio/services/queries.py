"""What may be read of an account, by whom, and its state at this moment."""

import logging
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet

from portfolio.margin.margin import value
from portfolio.margin.snapshot import snapshot
from portfolio.models import Account
from portfolio.services.loader import load_one, symbols_of
from portfolio.services.prices import read_market
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)


def visible(user: User) -> QuerySet[Account]:
    """The accounts that a user may know of: one's own, and all for staff."""
    accounts = Account.objects.select_related("group", "owner")
    return accounts if user.is_staff else accounts.filter(owner=user)


def get_account(user: User, key: str, *, doing: str) -> Account:
    """The account, if it is the user's or the user is staff; staff's access is logged.

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
    """The account reckoned by the oracle with the prices of now, shocked where asked (a share by symbol;
    ``*``: all).

    ``version`` and ``epoch`` are those of the engine's last snapshot, 0 where it has written none.
    """
    holdings = load_one(account)
    market = read_market(symbols_of(holdings), account.user_type)
    if shocks:
        market = market.shocked(shocks)
    written = sync_client().get(current_keys().snapshot(account.key))
    last = orjson.loads(written) if written else {}
    stamp = {"version": last.get("version", 0), "epoch": last.get("epoch", 0), "ts": now_ms()}
    stamp["source"] = settings.FEED.name
    return snapshot(account.key, holdings, value(holdings, market), market, **stamp)
