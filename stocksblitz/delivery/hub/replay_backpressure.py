"""Backpressure on a replay at full speed: this process publishes how far its readers are, as soon as it has written."""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.redis.client import current_keys
from stocksblitz.workers.runtime import now_ms

READER_WAIT_S = 10.0
"""How long the replay waits for a session that reads nothing at all."""
HOLD = -1
"""Published in place of a time while a session joins: the replay waits."""


class ReplayBackpressure:
    """Publishes the places of this process' readers; idle unless the feed is a replay at full speed."""

    def __init__(self, redis: Any, registry: Registry, me: str, spawn: Callable[[Any], Any]) -> None:
        self._redis, self._registry, self._me, self._spawn = redis, registry, me, spawn
        self._keys = current_keys()
        self._joining: Counter[Stream] = Counter()
        self._published: dict[Stream, int] = {}
        self._publishing = False
        self.active = settings.FEED.name == "replay" and settings.FEED.options.get("speed") == "max"

    @contextlib.asynccontextmanager
    async def joining(self, stream: Stream) -> AsyncIterator[None]:
        """Hold the stream's symbol from before it is subscribed to until the session has its snapshot."""
        if not self.active:
            yield
            return
        self._joining[stream] += 1
        try:
            await self.publish()
            yield
        finally:
            self._joining -= Counter([stream])  # which also removes a stream that nobody joins
            await self.publish()

    def publish_soon(self) -> None:
        """Publish the places because something was written, once at a time."""
        if self.active and not self._publishing:
            self._publishing = True
            self._spawn(self._publish_once())

    async def _publish_once(self) -> None:
        try:
            await self.publish()
        finally:
            self._publishing = False
        if self._places() != self._published:
            self.publish_soon()

    def _places(self) -> dict[Stream, int]:
        since = time.monotonic() - READER_WAIT_S
        streams = self._registry.streams.values()
        places = {state.stream: ts for state in streams if (ts := state.read_upto(since)) is not None}
        return places | dict.fromkeys(self._joining, HOLD)

    async def publish(self) -> None:
        if not self.active:
            return
        places = self._places()
        left, self._published = self._published.keys() - places.keys(), places
        pipe = self._redis.pipeline(transaction=False)
        for (symbol, timeframe), ts in places.items():
            pipe.hset(self._keys.readers(symbol), f"{timeframe}|{self._me}", f"{ts}|{now_ms()}")
        for symbol, timeframe in left:
            pipe.hdel(self._keys.readers(symbol), f"{timeframe}|{self._me}")
        with contextlib.suppress(RedisError, OSError):
            await pipe.execute()
