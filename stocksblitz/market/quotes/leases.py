"""One fetch of a symbol over all processes: a lease in Redis, whose holder shares the price and wakes who waits."""

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
from stocksblitz.market.quotes.types import ProviderQuote, quote_of, time_number
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.decoding import BadData, decode_json, decode_ms
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.scripts import script_text

log = logging.getLogger(__name__)

LEASE_MS = 2_000
"""A process that dies while it fetches delays the others for at most this long; one that lives renews its lease."""
POLL_S = 0.25
"""How often a waiter reads the key itself, in case a notification was lost."""
MANY = 5
"""So many waiters for one price make it count twice as long, twice as many make it count three times as long, …"""

_OURS, _PRICE = 0, 1

_TAKE, _RELEASE, _RENEW = (
    script_text(__file__, name) for name in ("take_lease", "release_lease", "renew_lease")
)
_bad_prices = BadDataLog("shared_price")


class SharedPrice(NamedTuple):
    """A price that another process fetched, and for how many ms it still counts."""

    quote: ProviderQuote
    ttl_ms: int
    left_ms: int


class FetchLeases:
    """The leases that one process holds or waits for; all of it runs in one event loop."""

    def __init__(self, redis: Any, keys: Keys, run: Run, *, lease_ms: int = LEASE_MS) -> None:
        self._redis, self._keys, self._run, self._lease_ms = redis, keys, run, lease_ms
        self._me, self._tokens = uuid.uuid4().hex, itertools.count()
        self._held: dict[Key, str] = {}
        self._wakeups: dict[str, asyncio.Event] = {}
        self._listening = asyncio.Event()
        self._channel = keys.name("quotes", "fetched")
        self._listener = asyncio.ensure_future(self._listen())

    async def acquire(self, key: Key) -> tuple[SharedPrice | None, bool]:
        """Wait for another process's price or for the lease.

        Return the price, or None when the lease is ours: then the caller fetches and calls `release`. The second value
        says whether another process was waited for. Raises RedisError.
        """
        if not self._listening.is_set():
            with contextlib.suppress(TimeoutError):  # without notifications a waiter reads the key itself
                await asyncio.wait_for(self._listening.wait(), POLL_S)
        wakeup = self._wakeups[_label(key)] = asyncio.Event()
        try:
            return await self._acquire(key, wakeup)
        finally:
            del self._wakeups[_label(key)]

    async def _acquire(self, key: Key, wakeup: asyncio.Event) -> tuple[SharedPrice | None, bool]:
        token = f"{self._me}-{next(self._tokens)}"
        waited = False
        while True:
            wakeup.clear()
            state, *answer = await self._run(_TAKE, self._names(key), [token, self._lease_ms, self._me])
            if state == _OURS:
                self._held[key] = token
                return None, waited
            if state == _PRICE:
                with _bad_prices.skip(_label(key)):
                    return decode_shared_price(*answer), waited
                await self._redis.unlink(self._names(key)[0])
                continue
            waited = True
            left_ms = answer[1]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wakeup.wait(), min(POLL_S, (left_ms + 1) / 1000))

    async def release(
        self, key: Key, quote: ProviderQuote | None, *, ttl_ms: int, most_ms: int, waiting: int
    ) -> int:
        """Give the lease back, share the quote (None: the fetch failed), and wake the processes that wait.

        Return for how long the price counts: ``ttl_ms``, or longer when many wait, ``most_ms`` at most.
        After a RedisError the lease expires by itself.
        """
        token = self._held.pop(key)
        price = orjson.dumps(list(quote)) if quote else b""
        args = [token, price, ttl_ms, most_ms, waiting, MANY, self._channel, _label(key)]
        ttl: int = await self._run(_RELEASE, self._names(key), args)
        return ttl_ms if ttl < 0 else ttl

    async def renew(self) -> None:
        """Renew every lease that we hold; this is called more often than a lease expires."""
        for key, token in list(self._held.items()):
            _, lease, waiters = self._names(key)
            await self._run(_RENEW, [lease, waiters], [token, self._lease_ms])

    async def close(self) -> None:
        """Give every lease back, so that others need not wait until it expires."""
        self._listener.cancel()
        for key in list(self._held):
            await self.release(key, None, ttl_ms=0, most_ms=0, waiting=0)

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
                log.warning("quote notifications are not received: %s", error, extra={"action": "trouble"})
                self._listening.clear()
                await asyncio.sleep(POLL_S)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._listening.set()
        elif message["type"] == "message" and (wakeup := self._wakeups.get(message["data"].decode())):
            wakeup.set()


def _label(key: Key) -> str:
    return f"{key[0]}|{key[1]}"


def decode_shared_price(raw: bytes, left_ms: int) -> SharedPrice:
    """Return the price that another process shared as ``ttl_ms JSON``; BadData for anything else."""
    ttl, _, fields = raw.partition(b" ")
    ttl_ms = decode_ms("shared price: ttl", ttl)
    match decode_json("shared price", fields):
        case [price, bid, ask, ts, fresh_until] if ttl_ms is not None:
            quote = quote_of(price, bid, ask, ts=time_number(ts), fresh_until=time_number(fresh_until))
            if quote is not None:
                return SharedPrice(quote, ttl_ms, left_ms)
    raise BadData("shared price", raw, "a quote of five fields")
