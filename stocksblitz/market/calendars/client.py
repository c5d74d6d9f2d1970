"""Sessions of an exchange for processes that may not load its calendar: asked of the feed, kept in Redis for a day.

The calendars need pandas, which takes a second and 100 MB; the feed has it anyway.
"""

import time
from bisect import bisect_right
from collections.abc import Iterable
from time import gmtime
from uuid import uuid4

import orjson

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import EVERY_DAY, Sessions, TradingSession, utc_day
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import Keys

WAIT_S = 4.0
"""How long an asker waits for the feed, in all."""
ASKED_S = 10
"""Nobody waits any longer for what was asked."""

type Table = tuple[list[int], list[int], list[bool]]
"""Opens, closes and certainties of a year and its neighbours, in order (see `Session`)."""


def wanted(names: Keys) -> str:
    """List: JSON of (exchange, year, the list to answer in)."""
    return names.name("sessions", "wanted")


def kept(names: Keys, exchange: str, year: int) -> str:
    """JSON of the table, or of ``{"error": …}``."""
    return names.name("sessions", exchange, str(year))


def sessions_of(exchange: str, moments: Iterable[int]) -> Sessions:
    """Looks up the session of each of these moments (ms UTC) and those between.

    StocksBlitzError ``unavailable`` while no feed runs that could tell, ``invalid_parameter`` for no exchange.
    """
    if exchange in EVERY_DAY:
        return utc_day
    years = {gmtime(ts / 1000).tm_year for ts in moments}
    tables = _tables(exchange, range(min(years), max(years) + 1)) if years else {}

    def session_at(ts: int) -> TradingSession:
        opens, closes, certain = tables[gmtime(ts / 1000).tm_year]
        i = bisect_right(opens, ts) - 1
        return TradingSession(opens[i], closes[i], opens[i + 1], certain[i])

    return session_at


def _tables(exchange: str, years: Iterable[int]) -> dict[int, Table]:
    redis, names, deadline = sync_client(), current_keys(), time.monotonic() + WAIT_S
    found: dict[int, bytes | None] = {year: redis.get(kept(names, exchange, year)) for year in years}
    missing = [year for year, raw in found.items() if raw is None]
    answers = names.name("sessions", "answers", uuid4().hex)
    if missing:
        redis.rpush(wanted(names), *(orjson.dumps([exchange, year, answers]) for year in missing))
        redis.expire(wanted(names), ASKED_S)
    for _ in missing:
        left = deadline - time.monotonic()
        if left <= 0 or redis.blpop([answers], timeout=left) is None:
            raise StocksBlitzError("unavailable", f"no feed tells the sessions of {exchange} now: try again")
    found |= {year: redis.get(kept(names, exchange, year)) for year in missing}
    return {year: _read(exchange, raw) for year, raw in found.items()}


def _read(exchange: str, raw: bytes | None) -> Table:
    told = orjson.loads(raw) if raw else {"error": f"the sessions of {exchange} are not known"}
    if isinstance(told, dict):
        raise StocksBlitzError("invalid_parameter", told["error"])
    opens, closes, certain = told
    return opens, closes, certain
