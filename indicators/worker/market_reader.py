"""Reads of what the feed writes: bars, forming bars and the state of each symbol, in one round trip each.

What cannot be read costs its own symbol or bar; it is counted, and logged once.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from indicators.engine.live_stream import StreamPosition
from indicators.worker.active_streams import StreamId
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.core.market_hash import STATE_FIELDS, FeedState, decode_feed_state
from stocksblitz.market.store.bar_codec import FormingBar, decode_bars, decode_forming
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.keys import Keys


@dataclass(slots=True)
class MarketReading:
    """The feed's state of each symbol, and the forming bar of each stream, as far as they can be read."""

    states: dict[str, FeedState] = field(default_factory=dict)
    forming: dict[StreamId, FormingBar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredStream:
    """All closed bars of a stream in the hot store, and how far it has been published."""

    bars: list[Bar]
    published: StreamPosition


class MarketReader:
    """Reads for one compute worker."""

    def __init__(self, redis: Any, keys: Keys) -> None:
        self._redis, self._keys = redis, keys
        self._bad_markets = BadDataLog("market")
        self._bad_bars = BadDataLog("bar")
        self._bad_positions = BadDataLog("position")

    async def read_market(self, streams: Sequence[StreamId]) -> MarketReading:
        timeframes: dict[str, list[str]] = defaultdict(list)
        for symbol, timeframe in streams:
            timeframes[symbol].append(timeframe)
        pipe = self._redis.pipeline(transaction=False)
        for symbol, wanted in timeframes.items():
            pipe.hmget(
                self._keys.market(symbol), *STATE_FIELDS, *(f"bar:{timeframe}" for timeframe in wanted)
            )
        reading = MarketReading()
        for (symbol, wanted), answer in zip(timeframes.items(), await each_answer(pipe), strict=True):
            with self._bad_markets.skip(symbol):
                fields = good(answer)
                reading.states[symbol] = decode_feed_state(fields[: len(STATE_FIELDS)])
                self._add_forming(reading, symbol, wanted, fields[len(STATE_FIELDS) :])
        return reading

    def _add_forming(
        self, reading: MarketReading, symbol: str, timeframes: Sequence[str], bars: Sequence[bytes | None]
    ) -> None:
        for timeframe, raw in zip(timeframes, bars, strict=True):
            with self._bad_bars.skip(f"{symbol} {timeframe} forming"):
                forming = decode_forming(raw)
                if forming is not None:
                    reading.forming[symbol, timeframe] = forming

    async def read_closed(self, after: dict[StreamId, int | None]) -> dict[StreamId, list[Bar]]:
        """Return each stream's bars that opened after a time (ms; None: all that the hot store keeps)."""
        if not after:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for stream, ts in after.items():
            if ts is None:
                pipe.zrange(self._keys.bars(*stream), -settings.HOT_BARS, -1)
            else:
                pipe.zrangebyscore(self._keys.bars(*stream), f"({ts}", "+inf")
        answers = zip(after, await each_answer(pipe), strict=True)
        return {stream: bars for stream, rows in answers if (bars := self._decoded(stream, rows)) is not None}

    async def read_stored(self, streams: Sequence[StreamId]) -> dict[StreamId, StoredStream]:
        """Return all that is needed to open streams."""
        if not streams:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipe.zrange(self._keys.bars(*stream), -settings.HOT_BARS, -1)
            pipe.get(self._keys.stream(*stream, "pos"))
        answers = await each_answer(pipe)
        stored: dict[StreamId, StoredStream] = {}
        for stream, rows, position in zip(streams, answers[::2], answers[1::2], strict=True):
            bars = self._decoded(stream, rows)
            if bars is not None:
                stored[stream] = StoredStream(bars, self._position(stream, position))
        return stored

    def _decoded(self, stream: StreamId, rows: Any) -> list[Bar] | None:
        """Return the bars without the members that are none; None where the key is of another type."""
        bars, bad = decode_bars(rows)
        self._bad_bars.record_all(" ".join(stream), bad)
        return None if isinstance(rows, Exception) else bars

    def _position(self, stream: StreamId, raw: Any) -> StreamPosition:
        """Return how far the stream was published; where that cannot be read it begins again."""
        with self._bad_positions.skip(" ".join(stream)):
            return StreamPosition.load(good(raw))
        return StreamPosition()

    def forget(self, symbol: str) -> None:
        """Have bad data of the symbol logged again when it comes again."""
        self._bad_markets.clear(symbol)
