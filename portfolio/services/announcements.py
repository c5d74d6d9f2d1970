"""What happened to accounts, announced after the commit to the engines and sockets of all processes."""

import logging
from collections.abc import Iterable
from typing import Any

import orjson
from django.db import transaction
from redis.exceptions import RedisError

from portfolio.models import Account, MarginEvent
from portfolio.services.symbol_holders import sync
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)


def changes(names: Keys) -> str:
    """Return the channel of account keys whose holdings, balance or rules changed."""
    return names.name("portfolio", "changes")


def events(names: Keys) -> str:
    """Return the channel of margin events: JSON ``{"account": key, "event": {...}}``."""
    return names.name("portfolio", "events")


def event_json(event: MarginEvent) -> dict[str, Any]:
    """Return an event with the fields that sockets send."""
    ts = int(event.created_at.timestamp() * 1000)
    return {"id": event.pk, "kind": event.kind, "text": event.text, "ts": ts}


def announce_event(event: MarginEvent) -> None:
    """Announce an event once it is committed; a lost announcement is made up for by `realtime.missed_events`."""
    message = {"account": event.account.key, "event": event_json(event)}
    transaction.on_commit(
        lambda: sync_client().publish(events(current_keys()), orjson.dumps(message)), robust=True
    )


def announce_change(account: Account, symbols: Iterable[str]) -> None:
    """Update the sets of holders and tell the engine, after the commit; with Redis away its sweep does both later."""
    try:
        sync(account, symbols)
        sync_client().publish(changes(current_keys()), account.key)
    except (RedisError, OSError) as error:
        extra = {"action": "announce", "account": account.key}
        log.warning("holders are not updated before the next sweep: %s", error, extra=extra)
