"""Reads of sessions and subscriptions, and the signs of life that renew them."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from indicators.engine.formats import decode_computation
from indicators.engine.spec import parse
from indicators.models import Session, Subscription
from indicators.subscriptions import reference_counts
from indicators.subscriptions.reference_counts import split
from indicators.subscriptions.repository import Key
from indicators.subscriptions.requests import Entry
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.messages import iso
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import BARS_ONLY, computation, session_key
from stocksblitz.workers.runtime import now_ms

type Computation = tuple[str, str, str]
"""Symbol, timeframe and canonical id."""

bad_computations = BadDataLog("computation")
bad_subscribers = BadDataLog("subscribers")


# --- signs of life ----------------------------------------------------------------------------------------------------


async def touch(sessions: Sequence[Key]) -> list[bool]:
    """Renew all that these sessions have; False for one that is not there (any more)."""
    return await asyncio.to_thread(_touch, sessions)


def _touch(sessions: Sequence[Key]) -> list[bool]:
    now = now_ms()
    commands = [reference_counts.touch(session_key(*key), now) for key in sessions]
    return [bool(answer) for answer in reference_counts.run(sync_client(), current_keys(), commands)]


def _computation(entry: Entry) -> str | None:
    """Return the computation that an entry means; None where it can be no subscription."""
    symbol, timeframe, indicator = entry
    if timeframe not in TIMEFRAMES or not is_symbol(symbol):
        return None
    try:
        canonical = parse(indicator).id if indicator not in ("", BARS_ONLY) else BARS_ONLY
    except StocksBlitzError:
        return None
    return computation(symbol, timeframe, canonical)


def heartbeat_sync(*, user_id: int, session_id: str, entries: Sequence[Entry]) -> list[bool]:
    """Renew the entries named; return for each whether it is (still) subscribed to."""
    meant = [_computation(entry) for entry in entries]
    named = list(dict.fromkeys(name for name in meant if name is not None))
    if not named:
        return [False] * len(entries)
    command = reference_counts.heartbeat(session_key(user_id, session_id), now_ms(), named)
    (answer,) = reference_counts.run(sync_client(), current_keys(), [command])
    alive = dict(zip(named, map(bool, answer), strict=True))
    return [name is not None and alive[name] for name in meant]


async def heartbeat(*, user_id: int, session_id: str, entries: Sequence[Entry]) -> list[bool]:
    """Do the same for an event loop."""
    return await asyncio.to_thread(heartbeat_sync, user_id=user_id, session_id=session_id, entries=entries)


def seen_at(session_keys: Sequence[str]) -> list[datetime | None]:
    """Return when each session was last alive, in one round trip; None where Redis does not know or is away."""
    pipe = sync_client().pipeline(transaction=False)
    for name in session_keys:
        pipe.hget(current_keys().session(name), "seen")
    try:
        answers = pipe.execute()
    except RedisError:
        return [None] * len(session_keys)
    return [datetime.fromtimestamp(int(ms) / 1000, UTC) if ms else None for ms in answers]


# --- what one session has ---------------------------------------------------------------------------------------------


def listing_sync(
    *, user_id: int, session_id: str, symbol: str | None = None, timeframe: str | None = None
) -> list[dict[str, Any]]:
    """Return what one session has, per stream: the ids it used, since when, and when it was last alive."""
    only = {name: value for name, value in (("symbol", symbol), ("timeframe", timeframe)) if value}
    rows = Subscription.objects.filter(
        session__user_id=user_id, session__session_id=session_id, session__ended_at=None, **only
    ).order_by("pk")
    seen = _seen(session_key(user_id, session_id))
    streams: dict[tuple[str, str], list[Subscription]] = {}
    for row in rows:
        streams.setdefault((row.symbol, row.timeframe), []).append(row)
    return [_listed(stream, found, seen) for stream, found in streams.items()]


def _listed(stream: tuple[str, str], rows: list[Subscription], seen: dict[str, int]) -> dict[str, Any]:
    renewed = [seen.get(computation(*stream, row.canonical), 0) for row in rows]
    beats = [_ms(row.last_heartbeat) for row in rows]
    return {
        "symbol": stream[0],
        "timeframe": stream[1],
        "indicators": [row.indicator for row in rows if row.indicator],
        "subscribed_at": iso(_ms(rows[0].subscribed_at)),
        "last_heartbeat": iso(max([seen.get("", 0), *renewed, *beats])),
    }


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _seen(name: str) -> dict[str, int]:
    """Return when each computation of a session was last renewed (ms), and under ``""`` when the session was.

    Empty where Redis is away.
    """
    try:
        stored = sync_client().hgetall(current_keys().session(name))
    except RedisError:
        return {}
    seen = {field.decode()[2:]: int(ms) for field, ms in stored.items() if field.startswith(b"c:")}
    return {**seen, "": int(stored.get(b"seen", 0))}


async def listing(*, user_id: int, session_id: str) -> list[dict[str, Any]]:
    """Return the same for an event loop, of all streams."""
    return await in_database_thread(listing_sync, user_id=user_id, session_id=session_id)


def _current_socket(*, user_id: int, session_id: str) -> str | None:
    session = Session.objects.filter(user_id=user_id, session_id=session_id, ended_at=None)
    return session.values_list("ws_conn_id", flat=True).first()


async def current_socket(*, user_id: int, session_id: str) -> str | None:
    """Return the socket that an open session has, empty where it has none; None where no session is open."""
    return await in_database_thread(_current_socket, user_id=user_id, session_id=session_id)


# --- what all sessions share ------------------------------------------------------------------------------------------


def subscribed_computations() -> list[str]:
    """Return the computations that have a subscriber, in order; junk is left out."""
    found = []
    for raw in sync_client().smembers(current_keys().wanted):
        with bad_computations.skip(current_keys().wanted):
            found.append(decode_computation(raw))
    return sorted(found)


def live_counts(computations: Iterable[Computation]) -> list[int]:
    """Return how many live sessions share each; 0 for a key that holds no subscribers."""
    keys, pipe, now = current_keys(), sync_client().pipeline(transaction=False), now_ms()
    for found in computations:
        pipe.zcount(keys.subscribers(*found), f"({now}", "+inf")
    return [0 if isinstance(count, Exception) else int(count) for count in each_answer_sync(pipe)]


def shared_counts() -> list[tuple[Computation, int]]:
    """Return every computation with a live subscriber, and how many share it."""
    computations = [split(name) for name in subscribed_computations()]
    counts = zip(computations, live_counts(computations), strict=True)
    return [(found, count) for found, count in counts if count]


def decode_session_key(raw: bytes) -> str:
    """Read a member of a set of subscribers, ``user:session``; BadData for what is none."""
    user_id, _, session_id = raw.decode(errors="replace").partition(":")
    try:
        if user_id.isascii() and user_id.isdigit() and str(UUID(session_id)) == session_id:
            return session_key(user_id, session_id)
    except ValueError:
        pass
    raise BadData("subscribers", raw, "USER:SESSION")


def decode_subscribers(name: str, answer: Any) -> list[tuple[str, int]]:
    """Read an answer with scores: sessions, and when they expire (ms). Junk is left out."""
    found = []
    with bad_subscribers.skip(name):
        for raw, score in good(answer):
            with bad_subscribers.skip(name):
                found.append((decode_session_key(raw), _expiry(score)))
    return found


def _expiry(score: float) -> int:
    if not 0 <= score <= 1e15:
        raise BadData("subscribers: expiry", score, "milliseconds")
    return int(score)


def active_sync(symbol: str | None = None, timeframe: str | None = None) -> list[dict[str, Any]]:
    """Return every computation with a live subscriber: its count, who, since when. Times in ms, ``ttl`` in seconds."""
    keys, now = current_keys(), now_ms()
    names = [
        name
        for name in subscribed_computations()
        if symbol in (None, split(name)[0]) and timeframe in (None, split(name)[1])
    ]
    pipe = sync_client().pipeline(transaction=False)
    for name in names:
        pipe.zrangebyscore(keys.subscribers(*split(name)), f"({now}", "+inf", withscores=True)
        pipe.hget(reference_counts.created(keys), name)
    answers = each_answer_sync(pipe)
    members = [decode_subscribers(*found) for found in zip(names, answers[::2], strict=True)]
    sockets = _sockets({session for found in members for session, _ in found})
    return [
        _described(split(name), found, int(since or now), sockets)
        for name, found, since in zip(names, members, answers[1::2], strict=True)
        if found
    ]


def _sockets(session_keys: set[str]) -> dict[str, str | None]:
    """Return the current socket of each session, where it has one."""
    ordered = sorted(session_keys)
    pipe = sync_client().pipeline(transaction=False)
    for name in ordered:
        pipe.hget(current_keys().session(name), "ws")
    return {name: ws.decode() if ws else None for name, ws in zip(ordered, pipe.execute(), strict=True)}


def _described(
    what: Computation, members: list[tuple[str, int]], since: int, sockets: dict[str, str | None]
) -> dict[str, Any]:
    ttl = settings.SESSION_TTL
    return {
        "indicator_id": what[2],
        "symbol": what[0],
        "timeframe": what[1],
        "ref_count": len(members),
        "subscribers": {
            session: {"last_active": expires - ttl * 1000, "websocket_id": sockets[session]}
            for session, expires in members
        },
        "created_at": since,
        "last_accessed": max(expires for _, expires in members) - ttl * 1000,
        "ttl": ttl,
    }
