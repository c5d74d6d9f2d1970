"""Every write to sessions and subscriptions, and what there is to read of them.

The database is the truth; Redis follows each commit and can be rebuilt from it. Each function here is for an event
loop; its namesake with ``_sync`` is for threads (views, the admin, commands).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async

from indicators.engine.spec import Spec
from indicators.models import Session
from indicators.subscriptions import reference_counts
from indicators.subscriptions.commands import (
    End,
    Open,
    Release,
    SessionInfo,
    SessionRequest,
    Subscribe,
    SubscribeResult,
    Unsubscribe,
    UnsubscribeResult,
)
from indicators.subscriptions.maintenance import (
    cleanup,
    cleanup_sync,
    ensure_rebuilt,
    purge,
    purge_sync,
    rebuild,
    rebuild_sync,
)
from indicators.subscriptions.queries import (
    active,
    active_sync,
    current_socket,
    heartbeat,
    heartbeat_sync,
    listing,
    listing_sync,
    touch,
)
from indicators.subscriptions.reference_counts import State
from indicators.subscriptions.repository import Key
from indicators.subscriptions.state import Guard
from indicators.subscriptions.unit_of_work import writer
from stocksblitz.delivery import control
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import session_key
from stocksblitz.workers.runtime import now_ms

__all__ = [
    "SessionInfo",
    "SubscribeResult",
    "UnsubscribeResult",
    "active",
    "active_sync",
    "cleanup",
    "cleanup_sync",
    "current_socket",
    "end_login",
    "end_login_sync",
    "end_session",
    "end_session_sync",
    "end_user",
    "end_user_sync",
    "ensure_rebuilt",
    "forget_sync",
    "heartbeat",
    "heartbeat_sync",
    "listing",
    "listing_sync",
    "open_session",
    "purge",
    "purge_sync",
    "rebuild",
    "rebuild_sync",
    "release_session",
    "subscribe",
    "subscribe_sync",
    "touch",
    "unsubscribe",
    "unsubscribe_sync",
]


async def _write(request: SessionRequest) -> Any:
    return await asyncio.wrap_future(writer.submit(request))


def _key(user_id: int, session_id: str | UUID) -> Key:
    return user_id, str(UUID(str(session_id)))


async def open_session(
    *, user_id: int, session_id: str, login_id: UUID | None = None, ws_conn_id: str = ""
) -> SessionInfo:
    """Begin a session, or take it over for another socket; one that has ended begins anew."""
    info: SessionInfo = await _write(Open(_key(user_id, session_id), login_id, ws_conn_id))
    return info


async def subscribe(
    *,
    user_id: int,
    session_id: str,
    symbol: str,
    timeframe: str,
    specs: Mapping[str, Spec],
    guard: Guard | None = None,
) -> SubscribeResult:
    """Add to what an open session has on a pair; no specs: the bars alone. ``guard`` sees the pair's ids first.

    StocksBlitzError: ``unknown_symbol``, ``limit_exceeded``, ``session_ended``, ``unavailable``.
    """
    request = Subscribe(_key(user_id, session_id), symbol, timeframe, specs, guard)
    result: SubscribeResult = await _write(request)
    return result


def subscribe_sync(
    *,
    user_id: int,
    session_id: str,
    symbol: str,
    timeframe: str,
    specs: Mapping[str, Spec],
    login_id: UUID | None = None,
) -> SubscribeResult:
    """The same over REST, where the first subscribe of a session begins it."""
    request = Subscribe(_key(user_id, session_id), symbol, timeframe, specs, create=True, login_id=login_id)
    result: SubscribeResult = writer.call(request)
    _tell_socket(request)
    return result


def _tell_socket(request: Subscribe | Unsubscribe) -> None:
    """What was changed over REST, an open socket of the session has from now on."""
    if request.socket:
        control.publish_sync(
            [
                ControlMessage(
                    action="resync", session_key=session_key(*request.key), ws_conn_id=request.socket
                )
            ]
        )


async def unsubscribe(
    *,
    user_id: int,
    session_id: str,
    symbol: str | None = None,
    timeframe: str | None = None,
    indicators: list[str] | None = None,
) -> UnsubscribeResult:
    """Take away what matches; a level left out means all of it, and what is not there is no error."""
    request = Unsubscribe(_key(user_id, session_id), symbol, timeframe, indicators)
    result: UnsubscribeResult = await _write(request)
    return result


def unsubscribe_sync(
    *,
    user_id: int,
    session_id: str,
    symbol: str | None = None,
    timeframe: str | None = None,
    indicators: list[str] | None = None,
) -> UnsubscribeResult:
    request = Unsubscribe(_key(user_id, session_id), symbol, timeframe, indicators)
    result: UnsubscribeResult = writer.call(request)
    _tell_socket(request)
    return result


async def release_session(*, user_id: int, session_id: str, ws_conn_id: str, grace_s: float) -> bool:
    """The socket dropped: its session runs out after the grace, if it is still the session's current one."""
    released: bool = await _write(Release(_key(user_id, session_id), ws_conn_id, int(grace_s * 1000)))
    return released


async def end_session(*, user_id: int, session_id: str, ws_conn_id: str) -> bool:
    """End a session whose socket has ended; return False when another socket is its current one, or it had ended."""
    key = _key(user_id, session_id)
    ended: bool = await _write(End(key, ws_conn_id))
    return ended


def end_session_sync(*, user_id: int, session_id: str) -> bool:
    return bool(_end([_key(user_id, session_id)]))


def _end(ended: Iterable[Key]) -> int:
    """End sessions, all in one group, and close their sockets; returns how many there were to end."""
    futures: dict[Key, Future[Any]] = {key: writer.submit(End(key)) for key in ended}
    closed = [key for key, future in futures.items() if future.result()]
    control.publish_sync([ControlMessage(action="close", session_key=session_key(*key)) for key in closed])
    return len(closed)


def _open_sessions(**which: Any) -> list[Key]:
    rows = Session.objects.filter(ended_at=None, **which).values_list("user_id", "session_id")
    return [(user_id, str(session_id)) for user_id, session_id in rows]


def end_login_sync(login_id: UUID) -> int:
    """End all sessions that came from one login."""
    return _end(_open_sessions(login_id=login_id))


def end_user_sync(user_id: int) -> int:
    """End all sessions of a user."""
    return _end(_open_sessions(user_id=user_id))


async def end_login(login_id: UUID) -> int:
    count: int = await database_sync_to_async(end_login_sync, thread_sensitive=False)(login_id)
    return count


async def end_user(user_id: int) -> int:
    count: int = await database_sync_to_async(end_user_sync, thread_sensitive=False)(user_id)
    return count


def forget_sync(members: Sequence[str]) -> None:
    """Sessions whose rows are gone with their user leave Redis, and their sockets close."""
    gone = [State(each, version=-1, computations=frozenset(), ended=True) for each in members]
    reference_counts.run(
        sync_client(), [reference_counts.apply(current_keys(), state, now_ms()) for state in gone]
    )
    control.publish_sync([ControlMessage(action="close", session_key=each) for each in members])
