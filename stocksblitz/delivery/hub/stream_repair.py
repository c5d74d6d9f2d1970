"""Frames from Redis to their streams, and the repair of streams that missed some: pub/sub may lose messages."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError, ResponseError

from stocksblitz.delivery.frames import Frame
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.delivery.hub.stream import StreamState
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.observability import metrics
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)

_bad_frames = BadDataLog("frame")

RECHECK_S = 0.1
"""Pause between the two comparisons after a lost connection: what is missing at both was lost."""


class StreamRepair:
    """Reads the frame log where a stream has a gap, and looks for gaps that no later frame reveals."""

    def __init__(self, redis: Any, keys: Keys, registry: Registry, spawn: Callable[[Any], Any]) -> None:
        self._redis, self._keys, self._registry, self._spawn = redis, keys, registry, spawn

    def receive(self, stream: Stream, data: bytes) -> None:
        """Take one message of the stream's channel."""
        state = self._registry.streams.get(stream)
        frame = self._decode(stream, data)
        if state is None or frame is None:
            return
        self._take(state, frame)
        if frame.flushed:
            metrics.delivery_lag.observe(max(0.0, time.time() - frame.flushed / 1000))

    async def load_newest(self, state: StreamState) -> None:
        """Read the newest frame of a stream that has none yet, if Redis can be reached."""
        if state.newest is None:
            with contextlib.suppress(RedisError, OSError):
                await self._take_newest(state)

    async def check_positions(self) -> None:
        """Compare each stream with its position in Redis, and fetch the newest frame of those that missed some."""
        states = list(self._registry.streams.values())
        if not states:
            return
        pipe = self._redis.pipeline(transaction=False)
        for state in states:
            pipe.get(self._keys.stream(*state.stream, "pos"))
        positions = await each_answer(pipe)
        missed = [
            state for state, raw in zip(states, positions, strict=True) if state.has_missed(_position(raw))
        ]
        for state in missed:
            await self._take_newest(state)

    async def recheck(self) -> None:
        """Compare at once, after a lost connection: anything may have been missed."""
        for state in self._registry.streams.values():
            state.last_position = None
        with contextlib.suppress(RedisError, OSError):
            await self.check_positions()
            await asyncio.sleep(RECHECK_S)
            await self.check_positions()

    def _decode(self, stream: Stream, raw: bytes) -> Frame | None:
        """Return the frame, or None for junk, which costs nothing but itself."""
        with _bad_frames.skip(" ".join(stream)):
            frame = Frame(raw)
            if frame.stream != stream:
                raise BadData("stream", frame.stream, " ".join(stream))
            return frame
        return None

    async def _take_newest(self, state: StreamState) -> None:
        try:
            raw = await self._redis.get(self._keys.stream(*state.stream, "frame"))
        except ResponseError as error:  # a key of another type
            _bad_frames.report(" ".join(state.stream), BadData("frame", str(error), "a string"))
            return
        frame = self._decode(state.stream, raw) if raw else None
        if frame is not None:
            self._take(state, frame)

    def _take(self, state: StreamState, frame: Frame) -> None:
        if state.take(frame):
            self._spawn(self._repair(state))

    async def _repair(self, state: StreamState) -> None:
        """Give the stream the log of its closed frames, with which it goes on."""
        try:
            entries = await self._redis.lrange(self._keys.stream(*state.stream, "log"), 0, -1)
        except (RedisError, OSError) as error:
            extra = {"action": "log_not_read", "symbol": state.stream[0], "timeframe": state.stream[1]}
            log.warning("frame log not read: %s", error, extra=extra)
            state.release()
            return
        frames = [self._decode(state.stream, raw) for raw in entries]
        state.repair([frame for frame in frames if frame is not None])


def _position(raw: Any) -> tuple[str, int] | None:
    """Return epoch and sequence number of a position as compute writes it; None for none, or for junk."""
    try:
        epoch, seq, *_ = raw.decode().split("|")
        return epoch, int(seq)
    except (AttributeError, UnicodeDecodeError, ValueError):
        return None
