"""Every write to sessions and subscriptions, and what there is to read of them.

The database is the truth; Redis follows each commit and can be rebuilt from it. Each function here is for an event
loop; its namesake with ``_sync`` is for threads (views, the admin, commands).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from uuid import UUID

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
from indicators.subscriptions.maintenance import cleanup_sync, purge_sync, rebuild_sync
from indicators.subscriptions.queries import (
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
    "active_sync",
    "cleanup_sync",
    "current_socket",
    "end_login_sync",
    "end_session",
    "end_session_sync",
    "end_user_sync",
    "forget_sync",
    "heartbeat",
    "heartbeat_sync",
    "listing",
    "listing_sync",
    "open_session",
    "purge_sync",
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
    """Begin a session, or take it over for another socket; one that has ended begins again."""
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
    """Add to what an open session has on a stream; no specs: the bars alone. ``guard`` may refuse the stream's ids.

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
    """Do the same over REST, where the first subscribe of a session begins it."""
    request = Subscribe(_key(user_id, session_id), symbol, timeframe, specs, create=True, login_id=login_id)
    result: SubscribeResult = writer.call(request)
    _notify_socket(request)
    return result


def _notify_socket(request: Subscribe | Unsubscribe) -> None:
    """Have an open socket of the session take over what was changed over REST."""
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
    """Take away what matches; a level left out means all of it, and naming what is not there is no error."""
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
    _notify_socket(request)
    return result


async def release_session(*, user_id: int, session_id: str, ws_conn_id: str, grace_s: float) -> bool:
    """Have a session whose socket dropped expire after the grace, if it is still the session's current socket."""
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
    """End sessions, all in one group, and close their sockets; return how many were ended."""
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


def forget_sync(session_keys: Sequence[str]) -> None:
    """Remove sessions from Redis whose rows are gone with their user, and close their sockets."""
    ended = [State(name, version=-1, computations=frozenset(), ended=True) for name in session_keys]
    now = now_ms()
    reference_counts.run(
        sync_client(), current_keys(), [reference_counts.apply(state, now) for state in ended]
    )
    control.publish_sync([ControlMessage(action="close", session_key=name) for name in session_keys])
