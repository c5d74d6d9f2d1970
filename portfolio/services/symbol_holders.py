"""Who holds what, in Redis: the public sets ``symbol_holders:{symbol}:{type}``, derived from the database."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from portfolio.models import Account, MarginEvent, Position
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import MOCK_TTL_S, Keys

log = logging.getLogger(__name__)

BATCH = 1000


def changes(names: Keys) -> str:
    """Channel: the key of each account whose holdings or balance changed."""
    return names.name("portfolio", "changes")


def events(names: Keys) -> str:
    """Channel: JSON of each margin event."""
    return names.name("portfolio", "events")


def shape(event: MarginEvent) -> dict[str, Any]:
    """An event as sockets are told of it."""
    ts = int(event.created_at.timestamp() * 1000)
    return {"id": event.pk, "kind": event.kind, "text": event.text, "ts": ts}


def tell(event: MarginEvent) -> None:
    """Announce an event to the account's sockets once it is committed; should that be lost, they find it (`missed`)."""
    message = {"account": event.account.key, "event": shape(event)}
    transaction.on_commit(
        lambda: sync_client().publish(events(current_keys()), orjson.dumps(message)), robust=True
    )


def announce(account: Account, symbols: Iterable[str]) -> None:
    """After a commit: put the sets right and tell the engine. With Redis away its sweep does both later."""
    try:
        sync(account, symbols)
        sync_client().publish(changes(current_keys()), account.key)
    except (RedisError, OSError) as error:
        log.warning(
            "holders wait for the sweep: %s", error, extra={"action": "announce", "account": account.key}
        )


def sync(account: Account, symbols: Iterable[str]) -> None:
    """Put the account into the sets of what it holds, and out of those of the other ``symbols``.

    Two writers may get here in either order. Each looks again after it wrote, and the one that had read
    before the other's commit then sees a newer revision and writes once more.
    """
    touched = set(symbols)
    while touched:
        revision = _revision(account)
        held = _held(account)
        pipe, names = sync_client().pipeline(transaction=False), current_keys()
        for symbol in touched | held:
            name = names.holders(symbol, account.user_type)
            if symbol in held:
                pipe.sadd(name, account.key)
            else:
                pipe.srem(name, account.key)
            if settings.FEED.mock:
                pipe.expire(name, MOCK_TTL_S)
        pipe.execute()
        if _revision(account) == revision:
            return


def _revision(account: Account) -> int:
    return Account.objects.values_list("revision", flat=True).get(pk=account.pk)


def _held(account: Account) -> set[str]:
    rows = Position.objects.filter(account_id=account.pk, status=Position.Status.OPEN)
    return set(rows.values_list("instrument__symbol", flat=True))


def truth() -> dict[tuple[str, str], set[str]]:
    """(symbol, user type) to the accounts that hold it, by the database."""
    rows = Position.objects.filter(status=Position.Status.OPEN)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for symbol, kind, key in rows.values_list(
        "instrument__symbol", "account__user_type", "account__key"
    ).iterator():
        found[symbol, kind].add(key)
    return found


def rebuild() -> tuple[int, int]:
    """Make the sets exactly what the database says; returns how many members were added and removed."""
    redis, names, wanted = sync_client(), current_keys(), truth()
    prefix = names.holders("", "").removesuffix("::")
    there = {
        (symbol, kind)
        for name in redis.scan_iter(match=f"{prefix}:*", count=BATCH)
        for symbol, _, kind in [name.decode().removeprefix(f"{prefix}:").rpartition(":")]
    }
    added = removed = 0
    for symbol, kind in there | set(wanted):
        name = names.holders(symbol, kind)
        have = {member.decode() for member in redis.smembers(name)}
        want = wanted.get((symbol, kind), set())
        added += _apply(redis.sadd, name, want - have)
        removed += _apply(redis.srem, name, have - want)
        if settings.FEED.mock and want:
            redis.expire(name, MOCK_TTL_S)
    return added, removed


def _apply(command: Callable[..., Any], name: str, members: set[str]) -> int:
    rows = sorted(members)
    for start in range(0, len(rows), BATCH):
        command(name, *rows[start : start + BATCH])
    return len(rows)
