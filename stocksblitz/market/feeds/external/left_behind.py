"""Reads what an earlier feed left in Redis of a symbol; what cannot be read counts as missing and is reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from stocksblitz.market.core.bars import TIMEFRAMES, Bar
from stocksblitz.market.feeds.external.ticks import (
    TICK_FIELDS,
    ExternalTick,
    decode_counted_volume,
    decode_tick,
)
from stocksblitz.market.store.bar_codec import decode_bars, decode_forming
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.keys import Keys

SESSION_MINUTES = 1_501
"""One more than the longest session has."""
_FORMING_FIELDS = tuple(f"bar:{timeframe}" for timeframe in TIMEFRAMES)
_bad_prices, _bad_bars, _bad_forming = BadDataLog("market"), BadDataLog("bar"), BadDataLog("forming_bar")
_bad_volumes = BadDataLog("counted_volume")


@dataclass(slots=True)
class LeftBehind:
    """The state of one symbol when the earlier feed ended."""

    tick: ExternalTick | None
    counted: tuple[float, int] | None
    """The volume that is in bars already, and the session that it is of."""
    minutes: list[Bar]
    """The newest closed bars of one minute, oldest first."""
    last: dict[str, int]
    """Timeframe to the opening time of the bar closed last."""
    forming: dict[str, Bar]


async def read_left_behind(redis: Any, keys: Keys, symbol: str, now: int) -> LeftBehind:
    """Read one symbol's state, in one round trip unless there is junk among its bars."""
    pipe = redis.pipeline(transaction=False)
    pipe.hmget(keys.market(symbol), [*TICK_FIELDS, *_FORMING_FIELDS])
    pipe.get(counted_volume_name(keys, symbol))
    pipe.zrange(keys.bars(symbol, "1min"), -SESSION_MINUTES, -1)
    for timeframe in TIMEFRAMES:
        pipe.zrange(keys.bars(symbol, timeframe), -1, -1)
    fields, counted, minutes, *newest = await each_answer(pipe)
    last = {}
    for timeframe, members in zip(TIMEFRAMES, newest, strict=True):
        bars = await _bars(redis, keys.bars(symbol, timeframe), members, 1)
        if bars:
            last[timeframe] = bars[-1].ts
    return LeftBehind(
        _tick(symbol, fields, now),
        _counted(symbol, counted),
        await _bars(redis, keys.bars(symbol, "1min"), minutes, SESSION_MINUTES),
        last,
        _forming(symbol, fields),
    )


def counted_volume_name(keys: Keys, symbol: str) -> str:
    """Return the key in which a feed notes how much of a symbol's volume is in its bars."""
    return keys.name("feed", "seen", symbol)


async def _bars(redis: Any, name: str, members: Sequence[bytes] | ResponseError, count: int) -> list[Bar]:
    """Decode the newest members of a hot store. Only feeds write there, so junk is removed and older bars are read."""
    while True:
        bars, bad = decode_bars(members)
        _bad_bars.record_all(name, bad)
        if not bad or isinstance(members, ResponseError):
            return bars
        await redis.zrem(name, *(member for member in members if not decode_bars([member])[0]))
        members = await redis.zrange(name, -count, -1)


def _tick(symbol: str, fields: Any, now: int) -> ExternalTick | None:
    with _bad_prices.skip(symbol):
        return decode_tick(good(fields)[: len(TICK_FIELDS)], now)
    return None


def _counted(symbol: str, raw: Any) -> tuple[float, int] | None:
    with _bad_volumes.skip(symbol):
        return decode_counted_volume(good(raw))
    return None


def _forming(symbol: str, fields: Any) -> dict[str, Bar]:
    if isinstance(fields, ResponseError):
        return {}
    found = {}
    for timeframe, raw in zip(TIMEFRAMES, fields[len(TICK_FIELDS) :], strict=True):
        with _bad_forming.skip(f"{symbol} {timeframe}"):
            if forming := decode_forming(raw):
                found[timeframe] = forming.bar
    return found
