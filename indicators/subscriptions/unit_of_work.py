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


def _lapsed(requests: Sequence[SessionRequest]) -> dict[Key, list[Expired]]:
    """What had run out of the sessions that are opened again, taken away in Redis before they are read."""
    opened = [request.key for request in requests if isinstance(request, Open)]
    commands = [reference_counts.lapsed(current_keys(), session_key(*key), now_ms()) for key in opened]
    answers = reference_counts.run(sync_client(), commands)
    return {key: reference_counts.gone(answer) for key, answer in zip(opened, answers, strict=True)}


def _context(requests: Sequence[SessionRequest], lapsed: dict[Key, list[Expired]]) -> Context:
    return Context(
        keys=current_keys(),
        now=timezone.now(),
        now_ms=now_ms(),
        symbols=known({r.symbol for r in requests if isinstance(r, Subscribe)}),
        revoked=revoked({r.login_id for r in requests if isinstance(r, Open | Subscribe) and r.login_id}),
        lapsed=lapsed,
    )


def _change(request: SessionRequest, record: Record, context: Context) -> Command | StocksBlitzError | None:
    try:
        return request.change(record, context)
    except StocksBlitzError as refusal:
        return refusal


def commit(requests: Sequence[SessionRequest]) -> list[Any]:
    """Do a group in one transaction, then tell Redis in one round trip; one outcome per request."""
    lapsed = _lapsed(requests)
    with transaction.atomic():
        context = _context(requests, lapsed)
        records = load(request.key for request in requests)
        told = [_change(request, records[request.key], context) for request in requests]
        save(records.values(), context.now)
    answers = iter(reference_counts.run(sync_client(), [each for each in told if isinstance(each, tuple)]))
    return [
        each if isinstance(each, StocksBlitzError) else request.reply(next(answers) if each else None)
        for request, each in zip(requests, told, strict=True)
    ]


writer: GroupCommit[SessionRequest] = GroupCommit("subscriptions", commit)
