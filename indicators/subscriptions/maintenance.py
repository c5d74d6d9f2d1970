"""Expiry, and repair of Redis from the database."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from itertools import batched
from typing import Any

from channels.db import database_sync_to_async
from django.db import transaction
from django.utils import timezone

from indicators.models import Session
from indicators.subscriptions import reference_counts
from indicators.subscriptions.commands import Expire
from indicators.subscriptions.reference_counts import Expired, State
from indicators.subscriptions.repository import Key, Record, load
from indicators.subscriptions.unit_of_work import writer
from stocksblitz.delivery import control
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.observability import aggregation, metrics
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

KEPT = timedelta(days=1)
"""How long a session without subscriptions stays in the database after its last sign of life."""
CHUNK = 200


def purge_sync() -> int:
    """Remove what ran out, in Redis and then in the database; returns how many interests that were."""
    redis, names, now = sync_client(), current_keys(), now_ms()
    wanted = sorted(each.decode() for each in redis.smembers(names.wanted))
    lost: dict[str, list[Expired]] = defaultdict(list)
    for chunk in batched(wanted, CHUNK):
        for each in reference_counts.gone(
            reference_counts.run(redis, [reference_counts.purge(names, now, chunk)])[0]
        ):
            lost[each.member].append(each)
    _expire(lost)
    metrics.cleanup_runs.inc()
    stale = Session.objects.filter(subscriptions=None, last_seen__lt=timezone.now() - KEPT)
    stale.filter(ws_conn_id="").delete()
    return sum(map(len, lost.values()))


def _expire(lost: Mapping[str, Sequence[Expired]]) -> None:
    futures: list[tuple[str, Future[Any]]] = []
    for name, gone in lost.items():
        futures.append((name, writer.submit(Expire(_key(name), gone))))
    orders = [
        ControlMessage(action="resync", session_key=name) for name, future in futures if future.result()
    ]
    control.publish_sync(orders)


async def purge() -> int:
    count: int = await database_sync_to_async(purge_sync, thread_sensitive=False)()
    return count


def _marker() -> str:
    return current_keys().name("built")


def _members() -> set[str]:
    """Every session that Redis knows to want something."""
    redis, names = sync_client(), current_keys()
    pipe = redis.pipeline(transaction=False)
    for each in redis.smembers(names.wanted):
        pipe.zrange(names.subscribers(*reference_counts.split(each.decode())), 0, -1)
    return {name.decode() for answer in pipe.execute() for name in answer}


def _key(member: str) -> Key:
    user_id, _, session_id = member.partition(":")
    return int(user_id), session_id


def rebuild_sync() -> int:
    """Make Redis agree with the database; returns how many sessions it looked at.

    What is there keeps its time; what was missing gets a full one. Redis is read before the database, so that a session
    that begins meanwhile is never taken for one that is gone.
    """
    found = {_key(each) for each in _members()}
    sessions = Session.objects.filter(ended_at=None).exclude(subscriptions=None).distinct()
    found |= {
        (user_id, str(session_id)) for user_id, session_id in sessions.values_list("user_id", "session_id")
    }
    for chunk in batched(sorted(found), CHUNK):
        reference_counts.run(
            sync_client(),
            [reference_counts.apply(current_keys(), state, now_ms()) for state in _stored(chunk)],
        )
    sync_client().set(_marker(), 1)
    log.debug("subscriptions rebuilt", extra={"action": "rebuild", "sessions": len(found)})
    return len(found)


def _stored(chunk: Iterable[Key]) -> list[State]:
    with transaction.atomic():
        return [_state(record) for record in load(chunk).values()]


def _state(record: Record) -> State:
    """What Redis should hold of a session; of one whose row is gone, nothing (whatever version it had)."""
    return State(
        member=record.member,
        version=record.session.version or -1,
        computations=record.wants.computations(),
        ended=not record.live,
        ws_conn_id=record.session.ws_conn_id,
        extend=False,
    )


async def rebuild() -> int:
    count: int = await database_sync_to_async(rebuild_sync, thread_sensitive=False)()
    return count


async def ensure_rebuilt() -> bool:
    """Rebuild where Redis came back empty; returns whether it had."""
    if await asyncio.to_thread(sync_client().exists, _marker()):
        return False
    await rebuild()
    return True


def cleanup_sync() -> int:
    """What is due every minute: remove what ran out, repair what Redis lost, forget series that nobody wants.

    Returns how much had run out.
    """
    removed = purge_sync()
    rebuild_sync()
    aggregation.drop(
        {reference_counts.split(each.decode()) for each in sync_client().smembers(current_keys().wanted)}
    )
    return removed


async def cleanup() -> int:
    count: int = await database_sync_to_async(cleanup_sync, thread_sensitive=False)()
    return count
