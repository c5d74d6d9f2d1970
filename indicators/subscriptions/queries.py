"""Who is there: signs of life, and what is subscribed to at this moment."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from indicators.engine.spec import parse
from indicators.models import Session, Subscription
from indicators.subscriptions import reference_counts
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.messages import iso
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import SYMBOL_PATTERN
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import BARS_ONLY, computation, session_key
from stocksblitz.workers.runtime import now_ms

type Entry = tuple[str, str, str]
"""Symbol, timeframe and the indicator's id, as the session wrote it (empty: the bars alone)."""


async def touch(members: Sequence[tuple[int, str]]) -> list[bool]:
    """Renew all that these sessions have; False for one that is not there (any more)."""
    return await asyncio.to_thread(_touch, members)


def _touch(members: Sequence[tuple[int, str]]) -> list[bool]:
    names, now = current_keys(), now_ms()
    commands = [reference_counts.touch(names, session_key(*each), now) for each in members]
    return [bool(answer) for answer in reference_counts.run(sync_client(), commands)]


def _computation(entry: Entry) -> str | None:
    """What the entry means; None where it can be no subscription."""
    symbol, timeframe, indicator = entry
    if timeframe not in TIMEFRAMES or not re.fullmatch(SYMBOL_PATTERN, symbol, re.ASCII):
        return None
    try:
        canonical = parse(indicator).id if indicator not in ("", BARS_ONLY) else BARS_ONLY
    except StocksBlitzError:
        return None
    return computation(symbol, timeframe, canonical)


def heartbeat_sync(*, user_id: int, session_id: str, entries: Sequence[Entry]) -> list[bool]:
    """Renew the entries named; returns for each whether it is (still) subscribed to."""
    meant = [_computation(entry) for entry in entries]
    named = [each for each in meant if each is not None]
    command = reference_counts.heartbeat(current_keys(), session_key(user_id, session_id), now_ms(), named)
    alive = iter(reference_counts.run(sync_client(), [command])[0] if named else ())
    return [each is not None and bool(next(alive)) for each in meant]


async def heartbeat(*, user_id: int, session_id: str, entries: Sequence[Entry]) -> list[bool]:
    return await asyncio.to_thread(heartbeat_sync, user_id=user_id, session_id=session_id, entries=entries)


def _seen(name: str) -> dict[str, int]:
    """When each computation of a session was last renewed (ms), and under ``""`` all of it; empty where Redis is away."""
    try:
        stored = sync_client().hgetall(current_keys().session(name))
    except RedisError:
        return {}
    seen = {field.decode()[2:]: int(ms) for field, ms in stored.items() if field.startswith(b"c:")}
    return {**seen, "": int(stored.get(b"seen", 0))}


def seen_at(name: str) -> datetime | None:
    """When a session was last alive, as far as Redis knows."""
    ms = _seen(name).get("", 0)
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


def live_counts(computations: Sequence[tuple[str, str, str]]) -> list[int]:
    """How many live sessions share each; 0 where Redis is away."""
    names, pipe = current_keys(), sync_client().pipeline(transaction=False)
    for each in computations:
        pipe.zcount(names.subscribers(*each), f"({now_ms()}", "+inf")
    try:
        return [int(count) for count in pipe.execute()]
    except RedisError:
        return [0] * len(computations)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def listing_sync(
    *, user_id: int, session_id: str, symbol: str | None = None, timeframe: str | None = None
) -> list[dict[str, Any]]:
    """What one session has, per pair: the ids it used, since when, and when it was last alive."""
    only = {name: value for name, value in (("symbol", symbol), ("timeframe", timeframe)) if value}
    rows = Subscription.objects.filter(
        session__user_id=user_id, session__session_id=session_id, session__ended_at=None, **only
    ).order_by("pk")
    seen = _seen(session_key(user_id, session_id))
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        since, name = _ms(row.subscribed_at), computation(row.symbol, row.timeframe, row.canonical)
        pair = pairs.setdefault(
            (row.symbol, row.timeframe), {"ids": [], "since": since, "seen": seen.get("", 0)}
        )
        pair["ids"] += [row.indicator] if row.indicator else []
        pair["seen"] = max(pair["seen"], seen.get(name, 0), _ms(row.last_heartbeat))
    return [
        {
            "symbol": symbol,
            "timeframe": timeframe,
            "indicators": pair["ids"],
            "subscribed_at": iso(pair["since"]),
            "last_heartbeat": iso(pair["seen"]),
        }
        for (symbol, timeframe), pair in pairs.items()
    ]


async def listing(*, user_id: int, session_id: str) -> list[dict[str, Any]]:
    return await in_database_thread(listing_sync, user_id=user_id, session_id=session_id)


def current_socket_sync(*, user_id: int, session_id: str) -> str | None:
    """The socket that an open session has, empty where it has none; None where no session is open."""
    session = Session.objects.filter(user_id=user_id, session_id=session_id, ended_at=None)
    return session.values_list("ws_conn_id", flat=True).first()


async def current_socket(*, user_id: int, session_id: str) -> str | None:
    return await in_database_thread(current_socket_sync, user_id=user_id, session_id=session_id)


def active_sync(symbol: str | None = None, timeframe: str | None = None) -> list[dict[str, Any]]:
    """Every computation with a live subscriber: its count, who, since when. Times in ms, ``ttl`` in seconds."""
    redis, names, now = sync_client(), current_keys(), now_ms()
    wanted = [reference_counts.split(each.decode()) for each in redis.smembers(names.wanted)]
    chosen = sorted(w for w in wanted if symbol in (None, w[0]) and timeframe in (None, w[1]))
    pipe = redis.pipeline(transaction=False)
    for each in chosen:
        pipe.zrangebyscore(names.subscribers(*each), f"({now}", "+inf", withscores=True)
        pipe.hget(reference_counts.created(names), computation(*each))
    answers = pipe.execute()
    sockets = _sockets({name.decode() for members in answers[::2] for name, _ in members})
    return [
        _described(each, members, int(since or now), sockets)
        for each, members, since in zip(chosen, answers[::2], answers[1::2], strict=True)
        if members
    ]


def _sockets(members: set[str]) -> dict[str, str | None]:
    """The current socket of each session, where it has one."""
    ordered = sorted(members)
    pipe = sync_client().pipeline(transaction=False)
    for name in ordered:
        pipe.hget(current_keys().session(name), "ws")
    return {name: ws.decode() if ws else None for name, ws in zip(ordered, pipe.execute(), strict=True)}


def _described(
    what: tuple[str, str, str], members: list[tuple[bytes, float]], since: int, sockets: dict[str, str | None]
) -> dict[str, Any]:
    ttl = settings.SESSION_TTL
    subscribers = {
        name.decode(): {"last_active": int(score) - ttl * 1000, "websocket_id": sockets[name.decode()]}
        for name, score in members
    }
    return {
        "indicator_id": what[2],
        "symbol": what[0],
        "timeframe": what[1],
        "ref_count": len(subscribers),
        "subscribers": subscribers,
        "created_at": since,
        "last_accessed": int(max(score for _, score in members)) - ttl * 1000,
        "ttl": ttl,
    }


async def active(symbol: str | None = None, timeframe: str | None = None) -> list[dict[str, Any]]:
    return await asyncio.to_thread(active_sync, symbol, timeframe)
