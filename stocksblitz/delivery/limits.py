"""Limits of sockets: messages per second of one, and sockets of one user over all web processes."""

import enum
from collections.abc import Collection, Sequence
from typing import Any

from django.conf import settings

from stocksblitz.redis.client import current_keys
from stocksblitz.redis.scripts import register
from stocksblitz.workers.runtime import now_ms

ALIVE_MS = 8_000
"""The sockets of a web process whose last heartbeat is older than this count no more: the process is dead."""


class MessageRate:
    """A token bucket: ``rate`` messages a second with as many in a burst; far beyond that the socket is closed."""

    class Verdict(enum.Enum):
        FINE = 0
        LIMITED = 1
        TOO_MANY = 2

    FINE, LIMITED, TOO_MANY = Verdict.FINE, Verdict.LIMITED, Verdict.TOO_MANY

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._refused = 0.0
        self._at = 0.0

    def take(self, now: float) -> Verdict:
        """``now`` in seconds of any clock that only grows."""
        passed = max(0.0, now - self._at) if self._at else 0.0
        self._at = now
        self._tokens = min(float(self._rate), self._tokens + passed * self._rate)
        self._refused = max(0.0, self._refused - passed * self._rate)
        if self._tokens >= 1:
            self._tokens -= 1
            return self.FINE
        self._refused += 1
        return self.TOO_MANY if self._refused > self._rate * 4 else self.LIMITED


def _key(user_id: int) -> str:
    return current_keys().name("open_sockets", str(user_id))


def _processes() -> str:
    return current_keys().workers("web")


class SocketCounts:
    """The sockets that one web process holds, as all web processes count them for each user."""

    def __init__(self, redis: Any, process: str) -> None:
        self._redis, self._process = redis, process
        self._claim = register(redis, __file__, "claim_socket")
        self._known = False

    async def beat(self) -> bool:
        """Write the heartbeat; return whether Redis has lost the earlier ones, and so perhaps the counts."""
        now = now_ms()
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(_processes(), {self._process: now})
        pipe.zremrangebyscore(_processes(), 0, now - ALIVE_MS)
        added, _ = await pipe.execute()
        lost, self._known = bool(added) and self._known, True
        return lost

    async def claim(self, user_id: int, ws_conn_id: str, *, replaces: str = "") -> bool:
        """Count one more socket for the user; return False when the user has all that are allowed.

        ``replaces`` is the connection whose place the socket takes, where its session had one.
        """
        since, kept = now_ms() - ALIVE_MS, 2_000 * settings.SESSION_TTL
        args = [since, settings.WS_MAX_SOCKETS, ws_conn_id, self._process, kept, replaces]
        return bool(await self._claim(keys=[_key(user_id), _processes()], args=args))

    async def release(self, user_id: int, ws_conn_id: str) -> None:
        await self._redis.hdel(_key(user_id), ws_conn_id)

    async def renew(self, sockets: Sequence[tuple[int, str]]) -> None:
        """Keep the counts of these sockets, as (user, connection id), and write again what Redis lost."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id, ws_conn_id in sockets:
            pipe.hset(_key(user_id), ws_conn_id, self._process)
            pipe.pexpire(_key(user_id), 2_000 * settings.SESSION_TTL)
        await pipe.execute()


def open_sockets(redis: Any, user_ids: Collection[int]) -> set[str]:
    """Return the connection ids of these users' sockets in web processes that are alive. For threads."""
    pipe = redis.pipeline(transaction=False)
    pipe.zrangebyscore(_processes(), now_ms() - ALIVE_MS, "+inf")
    for user_id in user_ids:
        pipe.hgetall(_key(user_id))
    alive, *held = pipe.execute()
    return {name.decode() for sockets in held for name, process in sockets.items() if process in set(alive)}
