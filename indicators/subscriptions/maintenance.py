"""Expiry, and repair of Redis from the database."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import batched
from typing import Any

from channels.db import database_sync_to_async
from django.db import transaction
from django.utils import timezone

from indicators.models import Session
from indicators.subscriptions import reference_counts
from indicators.subscriptions.commands import Expire
from indicators.subscriptions.queries import decode_subscribers, subscribed_computations
from indicators.subscriptions.reference_counts import Expired, State
from indicators.subscriptions.repository import Key, Record, load
from indicators.subscriptions.unit_of_work import writer
from stocksblitz.delivery import control
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.observability import aggregation, metrics
from stocksblitz.redis.client import current_keys, each_answer_sync, sync_client
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

KEPT = timedelta(days=1)
"""How long a session without subscriptions stays in the database after its last sign of life."""
CHUNK = 200
REBUILD_TURN_S = 30.0
"""After so long another worker rebuilds, where the one that began has died."""


def purge_sync() -> int:
    """Remove what has expired, in Redis and then in the database; return how many subscriptions that were."""
    lost = [lost for chunk in batched(subscribed_computations(), CHUNK) for lost in _purge(chunk)]
    _expire(lost)
    metrics.cleanup_runs.inc()
    stale = Session.objects.filter(subscriptions=None, last_seen__lt=timezone.now() - KEPT)
    stale.filter(ws_conn_id="").delete()
    return len(lost)


def _purge(computations: Sequence[str]) -> list[Expired]:
    """Remove expired subscribers of these computations from Redis; return what each session lost."""
    redis, keys, now = sync_client(), current_keys(), now_ms()
    expired: dict[str, list[str]] = defaultdict(list)
    for name, answer in zip(computations, _subscribers(computations, "-inf", now), strict=True):
        for session, _ in decode_subscribers(name, answer):
            expired[session].append(name)
    commands = [reference_counts.expire(session, now, names) for session, names in expired.items()]
    answers = reference_counts.run(redis, keys, commands)
    reference_counts.forget_unsubscribed(redis, keys, computations)
    return [
        lost
        for session, answer in zip(expired, answers, strict=True)
        for lost in reference_counts.expired(session, answer)
    ]


def _subscribers(computations: Sequence[str], low: Any, high: Any) -> list[Any]:
    """Read the subscribers of each computation with scores between the bounds, as Redis answers them."""
    keys, pipe = current_keys(), sync_client().pipeline(transaction=False)
    for name in computations:
        pipe.zrangebyscore(keys.subscribers(*reference_counts.split(name)), low, high, withscores=True)
    return each_answer_sync(pipe)


def _expire(expired: Sequence[Expired]) -> None:
    """Remove from the database what was removed from Redis, and have the sockets take it over."""
    by_session: dict[str, list[Expired]] = defaultdict(list)
    for lost in expired:
        by_session[lost.session_key].append(lost)
    futures = {session: writer.submit(Expire(_key(session), lost)) for session, lost in by_session.items()}
    changed = [session for session, future in futures.items() if future.result()]
    control.publish_sync([ControlMessage(action="resync", session_key=session) for session in changed])


def _marker() -> str:
    return current_keys().name("built")


def _known_sessions() -> set[str]:
    """Return every session that Redis knows to subscribe to something; junk among the subscribers is removed."""
    sessions: set[str] = set()
    for chunk in batched(subscribed_computations(), CHUNK):
        for name, answer in zip(chunk, _subscribers(chunk, "-inf", "+inf"), strict=True):
            found = {session for session, _ in decode_subscribers(name, answer)}
            _remove_junk(name, answer, found)
            sessions |= found
    return sessions


def _remove_junk(name: str, answer: Any, sessions: set[str]) -> None:
    if not isinstance(answer, Exception):
        junk = [raw for raw, _ in answer if raw.decode(errors="replace") not in sessions]
        if junk:
            sync_client().zrem(current_keys().subscribers(*reference_counts.split(name)), *junk)


def _key(session: str) -> Key:
    user_id, _, session_id = session.partition(":")
    return int(user_id), session_id


def rebuild_sync() -> int:
    """Make Redis agree with the database; return how many sessions were looked at.

    What is there keeps its time; what was missing gets a full one. Redis is read before the database, so that a session
    that begins meanwhile is never taken for one that is gone.
    """
    found = {_key(session) for session in _known_sessions()}
    sessions = Session.objects.filter(ended_at=None).exclude(subscriptions=None).distinct()
    found |= {
        (user_id, str(session_id)) for user_id, session_id in sessions.values_list("user_id", "session_id")
    }
    for chunk in batched(sorted(found), CHUNK):
        states, now = _stored(chunk), now_ms()
        commands = [reference_counts.apply(state, now) for state in states]
        reference_counts.run(sync_client(), current_keys(), commands)
    sync_client().set(_marker(), 1)
    log.debug("subscriptions rebuilt", extra={"action": "rebuild", "sessions": len(found)})
    return len(found)


def _stored(chunk: Iterable[Key]) -> list[State]:
    with transaction.atomic():
        return [_state(record) for record in load(chunk).values()]


def _state(record: Record) -> State:
    """Return what Redis should hold of a session; of one whose row is gone nothing, whatever version it had."""
    return State(
        session_key=record.session_key,
        version=record.session.version or -1,
        computations=record.subscriptions.computations(),
        ended=not record.live,
        ws_conn_id=record.session.ws_conn_id,
        extend=False,
    )


def _take_turn(task: str, seconds: float) -> bool:
    """Return whether this worker does a task now: one of them does it per period."""
    name = current_keys().name("turn", task)
    return bool(sync_client().set(name, now_ms(), nx=True, px=max(1, int(seconds * 1000))))


def _ensure_rebuilt() -> bool:
    if sync_client().exists(_marker()) or not _take_turn("rebuild", REBUILD_TURN_S):
        return False
    rebuild_sync()
    sync_client().delete(current_keys().name("turn", "rebuild"))
    return True


async def ensure_rebuilt() -> bool:
    """Rebuild where Redis came back empty, unless another worker does; return whether this one did."""
    read = database_sync_to_async(_ensure_rebuilt, thread_sensitive=False)
    rebuilt: bool = await read()
    return rebuilt


def cleanup_sync() -> int:
    """Remove what has expired, repair what Redis lost, and forget metrics of what nobody subscribes to.

    Returns how many subscriptions had expired.
    """
    removed = purge_sync()
    rebuild_sync()
    aggregation.drop({reference_counts.split(name) for name in subscribed_computations()})
    return removed
