"""The one writer of this process: a group of requests, one transaction, one round trip to Redis."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from indicators.subscriptions import reference_counts
from indicators.subscriptions.commands import Context, Open, SessionRequest, Subscribe
from indicators.subscriptions.group_commit import GroupCommit
from indicators.subscriptions.reference_counts import Command, Expired
from indicators.subscriptions.repository import Key, Record, load, revoked, save
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.store.instruments import known
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import session_key
from stocksblitz.workers.runtime import now_ms


def _expired(requests: Sequence[SessionRequest]) -> dict[Key, list[Expired]]:
    """Remove what has expired of the sessions that are opened again from Redis, before they are read."""
    opened = [request.key for request in requests if isinstance(request, Open)]
    names, now = [session_key(*key) for key in opened], now_ms()
    answers = reference_counts.run(
        sync_client(), current_keys(), [reference_counts.expire(name, now) for name in names]
    )
    return {
        key: reference_counts.expired(name, answer)
        for key, name, answer in zip(opened, names, answers, strict=True)
    }


def _context(requests: Sequence[SessionRequest], expired: dict[Key, list[Expired]]) -> Context:
    return Context(
        now=timezone.now(),
        now_ms=now_ms(),
        symbols=known({request.symbol for request in requests if isinstance(request, Subscribe)}),
        revoked=revoked(
            {
                request.login_id
                for request in requests
                if isinstance(request, Open | Subscribe) and request.login_id
            }
        ),
        expired=expired,
    )


def _change(request: SessionRequest, record: Record, context: Context) -> Command | StocksBlitzError | None:
    try:
        return request.change(record, context)
    except StocksBlitzError as refusal:
        return refusal


def commit(requests: Sequence[SessionRequest]) -> list[Any]:
    """Write a group in one transaction, then change Redis; return one outcome per request."""
    expired = _expired(requests)
    with transaction.atomic():
        context = _context(requests, expired)
        records = load(request.key for request in requests)
        changes = [_change(request, records[request.key], context) for request in requests]
        save(records.values(), context.now)
    commands = [change for change in changes if isinstance(change, Command)]
    answers = iter(reference_counts.run(sync_client(), current_keys(), commands))
    return [
        change if isinstance(change, StocksBlitzError) else request.reply(next(answers) if change else None)
        for request, change in zip(requests, changes, strict=True)
    ]


writer: GroupCommit[SessionRequest] = GroupCommit("subscriptions", commit)
