"""The one way by which frames reach Redis: per stream one script, refused to whoever lost the right to write."""

import logging
from typing import Any

import orjson
from django.conf import settings
from redis.exceptions import ResponseError

from indicators.engine.live_stream import Batch, LiveStream
from indicators.reads.job import latest_ttl_ms
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.keys import MOCK_TTL_S, Keys

log = logging.getLogger(__name__)

MOCK_TTL_MS = 1000 * MOCK_TTL_S

# KEYS fence log frame pos; ARGV fence position log-length ttl channel n logged... [forming]
_PUBLISH = """
local mine, held = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0')
if mine < held then return 0 end
if mine > held then redis.call('SET', KEYS[1], ARGV[1]) end
local n = tonumber(ARGV[6])
for i = 7, #ARGV do
  if i < 7 + n then redis.call('RPUSH', KEYS[2], ARGV[i]) end
  redis.call('PUBLISH', ARGV[5], ARGV[i])
end
if n > 0 then redis.call('LTRIM', KEYS[2], -tonumber(ARGV[3]), -1) end
redis.call('SET', KEYS[3], ARGV[#ARGV])
redis.call('SET', KEYS[4], ARGV[2])
if ARGV[4] ~= '0' then
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
end
return 1
"""

# KEYS fence log frame pos; ARGV fence: the stream has ended; what is left of it would only be old.
_END = """
if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[1]) or '0') then return 0 end
return redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
"""


class Publisher:
    """Writes the batches of one step in one pipeline."""

    def __init__(self, redis: Any, keys: Keys, *, mock: bool) -> None:
        self._redis, self._keys, self._mock = redis, keys, mock
        self._publish = redis.register_script(_PUBLISH)
        self._end = redis.register_script(_END)

    def _names(self, stream: tuple[str, str]) -> list[str]:
        return [self._keys.stream(*stream, part) for part in ("fence", "log", "frame", "pos")]

    async def write(self, batches: list[tuple[LiveStream, int, Batch]]) -> list[LiveStream]:
        """Publish each stream's batch under its fence; returns the streams that were not: another worker's by now, or
        such that begin anew."""
        pipe = self._redis.pipeline(transaction=False)
        for live, fence, batch in batches:
            await self._add(pipe, live, fence, batch)
        refused = []
        for (live, _, _), accepted in zip(batches, await each_answer(pipe), strict=True):
            if not accepted:
                refused.append(live)
            elif isinstance(accepted, ResponseError):
                await self._clear(live, accepted)
                refused.append(live)
        return refused

    async def _clear(self, live: LiveStream, error: ResponseError) -> None:
        """Keys of ours hold what we never wrote: without them the stream begins again, and the others go on."""
        fence, log_name, *_ = self._names((live.symbol, live.timeframe))
        log.error(
            "%s %s was overwritten: %s", live.symbol, live.timeframe, error, extra={"action": "bad_data"}
        )
        await self._redis.delete(fence, log_name)

    async def _add(self, pipe: Any, live: LiveStream, fence: int, batch: Batch) -> None:
        stream = (live.symbol, live.timeframe)
        frames = batch.logged if batch.forming is None else [*batch.logged, batch.forming]
        ttl = MOCK_TTL_MS if self._mock else 0
        args = [
            fence,
            live.position.dump(),
            settings.FRAME_LOG,
            ttl,
            self._keys.updates(*stream),
            len(batch.logged),
        ]
        await self._publish(keys=self._names(stream), args=[*args, *frames], client=pipe)

    async def remember(self, batches: list[tuple[LiveStream, int, Batch]]) -> None:
        """Where each stream stands, and the closed values as ``latest``, for readers that hold no stream."""
        pipe = self._redis.pipeline(transaction=False)
        for live, _, batch in batches:
            if not batch.logged:
                continue
            pipe.hset(self._keys.positions, f"{live.symbol}|{live.timeframe}", live.last_ts)
            ttl = latest_ttl_ms(live.timeframe, mock=self._mock)
            for each, entry in (batch.closed or {}).items():
                pipe.set(self._keys.latest(live.symbol, live.timeframe, each), orjson.dumps(entry), px=ttl)
        if self._mock:
            pipe.pexpire(self._keys.positions, MOCK_TTL_MS)
        await pipe.execute()

    async def end(self, stream: tuple[str, str], fence: int) -> None:
        """Nobody wants the stream any more."""
        await self._end(keys=self._names(stream), args=[fence])
        await self._redis.hdel(self._keys.positions, "|".join(stream))
