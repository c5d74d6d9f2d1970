"""The sessions of one exchange as a table, for processes that may not load its calendar (pure).

The calendars need pandas, which takes a second and 100 MB; only the feed has it. It writes one table per exchange into
Redis (`stocksblitz.market.feeds.session_tables`); the web process reads it (`stocksblitz.market.store.session_tables`).
"""

from bisect import bisect_right
from itertools import pairwise
from time import gmtime
from typing import NamedTuple

import orjson

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TradingSession
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json

MAX_TABLE_BYTES = 4 * 1024 * 1024
"""A year of sessions has about 10 kB."""


class SessionTable(NamedTuple):
    """When sessions open and close (ms UTC), in order, and whether a calendar covers them (see `TradingSession`)."""

    opens: list[int]
    closes: list[int]
    certain: list[bool]

    def session_at(self, ts: int) -> TradingSession:
        """Return the session that is open at a time, else the last one that was.

        StocksBlitzError ``unavailable`` for a time that the table does not cover.
        """
        i = bisect_right(self.opens, ts) - 1
        if not 0 <= i < len(self.opens) - 1:
            first, last = (gmtime(self.opens[end] / 1000).tm_year for end in (0, -1))
            raise StocksBlitzError(
                "unavailable",
                f"sessions are known from {first} to {last}: ask for bars of these years",
            )
        return TradingSession(self.opens[i], self.closes[i], self.opens[i + 1], self.certain[i])


def encode_table(table: SessionTable) -> bytes:
    """Return the table as Redis holds it."""
    return orjson.dumps([*table])


def decode_table(raw: bytes) -> SessionTable:
    """Return the table that a key holds; BadData for anything else."""
    match decode_json("session table", raw, MAX_TABLE_BYTES):
        case [list() as opens, list() as closes, list() as certain] if (
            2 <= len(opens) == len(closes) == len(certain)
            and all(type(ts) is int and 0 <= ts <= MAX_MS for ts in opens + closes)
            and all(type(flag) is bool for flag in certain)
            and all(one < other for one, other in pairwise(opens))
        ):
            return SessionTable(opens, closes, certain)
    raise BadData("session table", raw, "opens in order, closes and certainties")
