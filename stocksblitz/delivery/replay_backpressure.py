"""How a replay at full speed learns how far its readers are: this process says so, as soon as it has written."""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from django.conf import settings
from redis.exceptions import RedisError

from stocksblitz.delivery.send_queue import Stream
from stocksblitz.redis.client import current_keys
from stocksblitz.workers.runtime import now_ms

if TYPE_CHECKING:
    from stocksblitz.delivery.hub import Hub

PATIENCE_S = 10.0
"""How long a session that does not read at all is waited for."""
HOLD = -1
"""Said in place of a time while a session joins."""


class Pace:
    """Idle unless the feed is a replay at full speed."""

    def __init__(self, hub: "Hub", me: str) -> None:
        self._hub, self._me, self._keys = hub, me, current_keys()
        self._joining: Counter[Stream] = Counter()
        self._told: dict[Stream, int] = {}
        self._telling = False
        self.active = settings.FEED.name == "replay" and settings.FEED.options.get("speed") == "max"

    @contextlib.asynccontextmanager
    async def joining(self, stream: Stream) -> AsyncIterator[None]:
        """Hold the stream's symbol from before it is wanted until the session has its snapshot."""
        if not self.active:
            yield
            return
        self._joining[stream] += 1
        try:
            await self.tell()
            yield
        finally:
            self._joining -= Counter([stream])  # and forgets a stream that nobody joins
            await self.tell()

    def written(self) -> None:
        """Something was handed to sockets: say how far everybody is, once at a time."""
        if self.active and not self._telling:
            self._telling = True
            self._hub.spawn(self._tell_once())

    async def _tell_once(self) -> None:
        try:
            await self.tell()
        finally:
            self._telling = False
        if self._places() != self._told:
            self.written()

    def _places(self) -> dict[Stream, int]:
        since = time.monotonic() - PATIENCE_S
        places = {
            state.stream: ts for state in self._hub.states if (ts := state.read_upto(since)) is not None
        }
        return places | dict.fromkeys(self._joining, HOLD)

    async def tell(self) -> None:
        if not self.active:
            return
        places = self._places()
        gone, self._told = self._told.keys() - places.keys(), places
        pipe = self._hub.redis.pipeline(transaction=False)
        for (symbol, timeframe), ts in places.items():
            pipe.hset(self._keys.readers(symbol), f"{timeframe}|{self._me}", f"{ts}|{now_ms()}")
        for symbol, timeframe in gone:
            pipe.hdel(self._keys.readers(symbol), f"{timeframe}|{self._me}")
        with contextlib.suppress(RedisError, OSError):
            await pipe.execute()
