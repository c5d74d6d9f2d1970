"""One fetch of a symbol over all processes: a lease in Redis, its result shared, and its waiters woken."""

import asyncio
import contextlib
import itertools
import logging
import uuid
from typing import Any, NamedTuple

import orjson
from redis.exceptions import RedisError

from stocksblitz.market.quotes.cache import Key
from stocksblitz.market.quotes.rate_limit import Run
from stocksblitz.market.quotes.types import ProviderQuote
from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)

LEASE_MS = 2_000
"""A process that dies while it fetches holds the others up for at most this long; one that lives renews in
time."""
POLL_S = 0.25
"""How often a waiter looks for itself, should a notification be lost."""
MANY = 5
"""So many waiters for one price make it count twice as long, twice as many three times, and so on."""

_OURS, _PRICE = 0, 1

# KEYS: price, lease, waiters. ARGV: our token, lease ms, our process.
# A script that a lost connection made run twice must find its own lease and take it as won.
_TAKE = """
local price = redis.call('GET', KEYS[1])
if price then return {1, price, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {0} end
if redis.call('GET', KEYS[2]) == ARGV[1] then return {0} end
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return {2, '', redis.call('PTTL', KEYS[2])}
"""
# ARGV: our token, the price or '', TTL ms, largest TTL ms, waiters here, how many are many, channel, message.
# Returns the TTL, or -1 when the lease was not ours any more and nothing was written.
_SETTLE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
local waiting = redis.call('SCARD', KEYS[3])
local stretch = 1 + math.floor((waiting + ARGV[5]) / ARGV[6])
local ttl = math.min(tonumber(ARGV[4]), math.floor(ARGV[3] * stretch))
if ARGV[2] ~= '' and ttl > 0 then redis.call('SET', KEYS[1], ttl .. ' ' .. ARGV[2], 'PX', ttl) end
redis.call('DEL', KEYS[2], KEYS[3])
if waiting > 0 then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
return ttl
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""


class Shared(NamedTuple):
    """A price that some process fetched, and for how many ms it still counts."""

    quote: ProviderQuote
    ttl_ms: int
    left_ms: int


class FetchLeases:
    """The leases that one process holds or waits for; all of it runs in one event loop."""

    def __init__(self, redis: Any, keys: Keys, run: Run, *, lease_ms: int = LEASE_MS) -> None:
        self._redis, self._keys, self._run, self._lease_ms = redis, keys, run, lease_ms
        self._me, self._tokens = uuid.uuid4().hex, itertools.count()
        self._held: dict[Key, str] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._joined = asyncio.Event()
        self._channel = keys.name("quotes", "fetched")
        self._listener = asyncio.ensure_future(self._listen())

    async def acquire(self, key: Key) -> tuple[Shared | None, bool]:
        """Wait for somebody's price or for the lease.

        Returns the price, or None when the lease is ours and the caller fetches and then calls `settle`; and
        whether another process was waited for. Raises RedisError.
        """
        if not self._joined.is_set():
            with contextlib.suppress(TimeoutError):  # without notifications a waiter still looks by itself
                await asyncio.wait_for(self._joined.wait(), POLL_S)
        bell = self._bells[_label(key)] = asyncio.Event()
        try:
            return await self._acquire(key, bell)
        finally:
            del self._bells[_label(key)]

    async def _acquire(self, key: Key, bell: asyncio.Event) -> tuple[Shared | None, bool]:
        token = f"{self._me}-{next(self._tokens)}"
        waited = False
        while True:
            bell.clear()
            state, *answer = await self._run(_TAKE, self._names(key), [token, self._lease_ms, self._me])
            if state == _OURS:
                self._held[key] = token
                return None, waited
            if state == _PRICE:
                fetched, left_ms = answer
                return _shared(fetched, left_ms), waited
            waited = True
            left_ms = answer[1]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), min(POLL_S, (left_ms + 1) / 1000))

    async def settle(
        self, key: Key, quote: ProviderQuote | None, *, ttl_ms: int, most_ms: int, waiting: int
    ) -> int:
        """Give the lease back, share the quote (None: the fetch failed), and wake who waits.

        Returns for how long the price counts: ``ttl_ms``, or longer when many wait, ``most_ms`` at most.
        Raises RedisError; then the lease runs out by itself.
        """
        token = self._held.pop(key)
        price = orjson.dumps(list(quote)) if quote else b""
        args = [token, price, ttl_ms, most_ms, waiting, MANY, self._channel, _label(key)]
        ttl: int = await self._run(_SETTLE, self._names(key), args)
        return ttl_ms if ttl < 0 else ttl

    async def renew(self) -> None:
        """Keep what we hold; called more often than a lease runs out."""
        for key, token in list(self._held.items()):
            _, lease, waiters = self._names(key)
            await self._run(_RENEW, [lease, waiters], [token, self._lease_ms])

    async def close(self) -> None:
        """Give everything back, so that others need not wait for it to run out."""
        self._listener.cancel()
        for key in list(self._held):
            await self.settle(key, None, ttl_ms=0, most_ms=0, waiting=0)

    def _names(self, key: Key) -> list[str]:
        tag = f"{{{_label(key)}}}"
        return [self._keys.name("quotes", tag, part) for part in ("price", "lease", "waiters")]

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    async for message in pubsub.listen():
                        self._hear(message)
            except (RedisError, OSError) as error:
                log.warning("quote notifications are away: %s", error, extra={"action": "trouble"})
                self._joined.clear()
                await asyncio.sleep(POLL_S)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._joined.set()
        elif message["type"] == "message" and (bell := self._bells.get(message["data"].decode())):
            bell.set()


def _label(key: Key) -> str:
    return f"{key[0]}|{key[1]}"


def _shared(raw: bytes, left_ms: int) -> Shared:
    ttl_ms, _, fields = raw.partition(b" ")
    return Shared(ProviderQuote(*orjson.loads(fields)), int(ttl_ms), left_ms)
