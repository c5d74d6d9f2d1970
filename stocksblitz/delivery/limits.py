"""Limits of sockets: messages a second of one, and sockets of one user over all processes."""

import enum
from typing import Any

from django.conf import settings

from stocksblitz.redis.client import current_keys
from stocksblitz.workers.runtime import now_ms

SOCKET_TTL_MS = 120_000
"""A claim that nobody renewed or gave back, because its process died, runs out after this."""

_CLAIM = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if ARGV[6] ~= '' then redis.call('ZREM', KEYS[1], ARGV[6]) end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""


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
    return current_keys().name("sockets", str(user_id))


async def claim_socket(redis: Any, user_id: int, ws_conn_id: str, *, replaces: str = "") -> bool:
    """Count one socket more for the user; False when all places are taken. Also renews a claim.

    ``replaces``: the connection whose place it takes, where its session had one.
    """
    now = now_ms()
    args = [now, now + SOCKET_TTL_MS, settings.WS_MAX_SOCKETS, ws_conn_id, SOCKET_TTL_MS, replaces]
    return bool(await redis.eval(_CLAIM, 1, _key(user_id), *args))


async def release_socket(redis: Any, user_id: int, ws_conn_id: str) -> None:
    await redis.zrem(_key(user_id), ws_conn_id)


async def renew_sockets(redis: Any, sockets: list[tuple[int, str]]) -> None:
    """Say that these sockets, as (user, connection), are still open."""
    until = now_ms() + SOCKET_TTL_MS
    pipe = redis.pipeline(transaction=False)
    for user_id, ws_conn_id in sockets:
        pipe.zadd(_key(user_id), {ws_conn_id: until})
        pipe.pexpire(_key(user_id), SOCKET_TTL_MS)
    await pipe.execute()
