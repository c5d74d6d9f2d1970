"""Reads who wants the replayed symbol, and how far each of its readers is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_ms, decode_number
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

SILENT_MS = 3_000
"""A web process that has not reported its position for this long is gone."""
_bad_data = BadDataLog("replay_reader")


class Demand(NamedTuple):
    """What the readers of one symbol want, by timeframe."""

    wanted: set[str]
    """Timeframes with a subscriber."""
    positions: dict[str, int]
    """Timeframe to the opening time of the last closed bar that its slowest reader has."""
    held: bool
    """A reader asks the replay to wait."""


async def read_demand(redis: Any, keys: Keys, symbol: str, timeframes: Sequence[str]) -> Demand:
    """Read the demand for a symbol in one round trip; what cannot be read counts as missing."""
    pipe = redis.pipeline(transaction=False)
    pipe.smembers(keys.wanted)
    pipe.hmget(keys.positions, [f"{symbol}|{timeframe}" for timeframe in timeframes])
    pipe.hgetall(keys.readers(symbol))
    wanted: set[str] = set()
    positions: dict[str, int] = {}
    members, places, readers = await each_answer(pipe)
    with _bad_data.skip("wanted"):
        names = {timeframe: f"{symbol}|{timeframe}|".encode() for timeframe in timeframes}
        wanted = {
            tf for tf, name in names.items() if any(member.startswith(name) for member in good(members))
        }
    for timeframe, place in zip(timeframes, places, strict=True) if isinstance(places, list) else ():
        with _bad_data.skip(f"position of {timeframe}"):
            if (ts := decode_ms("position", place)) is not None:
                positions[timeframe] = ts
    held = False
    for timeframe, ts in _reported(readers):
        held = held or ts < 0
        positions[timeframe] = min(ts, positions.get(timeframe, ts))
    return Demand(wanted, positions, held)


def _reported(readers: Mapping[bytes, bytes] | Exception) -> Iterator[tuple[str, int]]:
    """Yield how far each web process has written each timeframe, as far as it has reported lately."""
    lately = now_ms() - SILENT_MS
    for name, place in readers.items() if isinstance(readers, Mapping) else ():
        with _bad_data.skip("readers"):
            ts, at = _decode_place(place)
            if at > lately:
                yield name.decode(errors="replace").partition("|")[0], ts


def _decode_place(raw: bytes) -> tuple[int, int]:
    """Return a reader's position, -1 where it asks the replay to wait, and when it was reported (ms UTC)."""
    position, _, reported = raw.partition(b"|")
    ts, at = decode_number("position", position, -1, MAX_MS), decode_ms("reported", reported)
    if ts is None or at is None:
        raise BadData("reader", raw, "ts|ms")
    return int(ts), at
