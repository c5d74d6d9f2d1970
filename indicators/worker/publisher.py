"""The one way by which frames reach Redis: per stream one script, refused to a worker that lost its lease."""

from typing import Any

import orjson
from django.conf import settings
from redis.exceptions import ResponseError

from indicators.engine.live_stream import Batch, LiveStream
from indicators.reads.job import latest_ttl_ms
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import MOCK_TTL_S, Keys
from stocksblitz.redis.scripts import register

MOCK_TTL_MS = 1000 * MOCK_TTL_S

bad_streams = BadDataLog("stream")


class Publisher:
    """Writes the batches of one step in one pipeline."""

    def __init__(self, redis: Any, keys: Keys, *, mock: bool) -> None:
        self._redis, self._keys, self._mock = redis, keys, mock
        self._publish = register(redis, __file__, "publish_frames")
        self._end = register(redis, __file__, "end_stream")

    def _names(self, stream: tuple[str, str]) -> list[str]:
        return [self._keys.stream(*stream, part) for part in ("fence", "log", "frame", "pos")]

    async def write(self, batches: list[tuple[LiveStream, int, Batch]]) -> list[LiveStream]:
        """Publish each stream's batch under its fence; return the streams that were refused: another worker has them by
        now, or they begin again."""
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
        """Remove keys of a stream that hold what we never wrote: the stream begins again, and the others go on."""
        fence, log_name, *_ = self._names((live.symbol, live.timeframe))
        bad_streams.report(
            f"{live.symbol} {live.timeframe}", BadData("stream", str(error), "keys of the right types")
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
        """Store how far each stream is, and its values at the last close, for readers that hold no stream."""
        pipe = self._redis.pipeline(transaction=False)
        for live, _, batch in batches:
            if not batch.logged:
                continue
            pipe.hset(self._keys.positions, f"{live.symbol}|{live.timeframe}", live.last_ts)
            ttl = latest_ttl_ms(live.timeframe, mock=self._mock)
            for indicator, entry in (batch.closed or {}).items():
                pipe.set(
                    self._keys.latest(live.symbol, live.timeframe, indicator), orjson.dumps(entry), px=ttl
                )
        if self._mock:
            pipe.pexpire(self._keys.positions, MOCK_TTL_MS)
        await pipe.execute()

    async def end(self, stream: tuple[str, str], fence: int) -> None:
        """Remove a stream that nobody subscribes to any more."""
        await self._end(keys=self._names(stream), args=[fence])
        await self._redis.hdel(self._keys.positions, "|".join(stream))
