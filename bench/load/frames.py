"""Publish frames in the format of the compute process, without the cost of computing them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from stocksblitz.redis.keys import Keys

MINUTE_MS = 60_000
START_MS = 1_763_634_900_000
LOG_FRAMES = 256
"""Number of frames that a stream's log keeps."""


@dataclass
class FakeStream:
    """Stream of one symbol and timeframe, with its sequence of forming frames."""

    symbol: str
    timeframe: str
    indicators: Sequence[str]
    source: str = "simulated"
    epoch: str = "bench"
    seq: int = 0
    closed_ts: int = START_MS - MINUTE_MS
    """Opening time of the last closed bar, in ms."""
    logged: bool = field(default=False, init=False)
    """Whether the newest frame belongs in the stream's log, as closed bars and the first frame of an epoch do."""
    frame: bytes = field(default=b"", init=False)

    def next(self) -> bytes:
        """Return the next forming frame; its numbers have as many digits as real prices."""
        self.seq += 1
        self.frame = orjson.dumps(self._content(self.seq))
        return self.frame

    def _content(self, seq: int) -> dict[str, Any]:
        price = 24_000.05 + seq % 997 * 0.1
        return {
            "epoch": self.epoch,
            "seq": seq,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "timestamp": "2025-11-20T10:35:00.100Z",
            "ohlcv": {
                "ts": START_MS,
                "open": 24_000.05,
                "high": round(price + 5, 2),
                "low": 23_990.2,
                "close": round(price, 2),
                "volume": 100_000.0 + seq % 1000,
                "closed": False,
            },
            "greeks": None,
            "oi": None,
            "indicators": {id_: self._value(id_, price, index) for index, id_ in enumerate(self.indicators)},
            "source": self.source,
            "stale": False,
            "prev": START_MS - MINUTE_MS,
            "flushed": time.time_ns() // 1_000_000,
        }

    def _value(self, indicator: str, price: float, index: int) -> dict[str, Any]:
        value = price - index - 1 / 3
        return {"ts": START_MS, "value": value, "timeframe": self.timeframe, "ready": True}


async def publish(redis: Any, keys: Keys, streams: Iterable[FakeStream]) -> None:
    """Store and announce a new frame of each stream, all in one pipeline."""
    pipe = redis.pipeline(transaction=False)
    for stream in streams:
        frame = stream.next()
        pipe.set(keys.stream(stream.symbol, stream.timeframe, "frame"), frame)
        pipe.set(
            keys.stream(stream.symbol, stream.timeframe, "pos"),
            f"{stream.epoch}|{stream.seq}|{stream.closed_ts}|",
        )
        if stream.logged:
            pipe.rpush(keys.stream(stream.symbol, stream.timeframe, "log"), frame)
            pipe.ltrim(keys.stream(stream.symbol, stream.timeframe, "log"), -LOG_FRAMES, -1)
        pipe.publish(keys.updates(stream.symbol, stream.timeframe), frame)
    await pipe.execute()
