"""When an exchange trades: the sessions that bars are anchored to.

``24x7`` has a session per UTC day. ``24x5`` (forex) has one per trading day, 17:00 to 17:00 in New York, from Sunday
evening to Friday evening. Everything else is a market identifier code whose sessions come from `exchange_calendars`,
corrected by `overrides.OVERRIDES`. ``continuous:CODE`` opens when CODE does, but every day and without an end: simulated
markets use it.

In a year that no calendar covers the exchange's ordinary week stands in, and ``certain`` of its sessions is False: a
server must not stop on 1 January.

Times are milliseconds UTC. Only the feed process looks up market identifier codes (the library needs pandas); the web
process reads the tables that the feed writes (`stocksblitz.market.store.session_tables`).
"""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from time import gmtime
from zoneinfo import ZoneInfo

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars.overrides import OVERRIDES, check_exchange
from stocksblitz.market.calendars.session_table import SessionTable
from stocksblitz.market.core.bars import (
    EVERY_DAY,
    MINUTE_MS,
    TradingSession,
    utc_day,
)

CONTINUOUS = "continuous:"
NEW_YORK = "America/New_York"
_LIBRARY_NAME = {
    "XNSE": "XBOM",
    "XNAS": "XNYS",
    "XCME": "CMES",
    "XCBT": "CMES",
    "XNYM": "CMES",
    "XCEC": "CMES",
}
_GLOBEX_MS = 23 * 60 * MINUTE_MS
"""CME's electronic session: 17:00 to 16:00 in Chicago. The library has it end at 17:00, without the daily break."""
_DAILY_OPEN = {
    "24x7": ("UTC", time(0)),
    "XNSE": ("Asia/Kolkata", time(9, 15)),
    "XBOM": ("Asia/Kolkata", time(9, 15)),
    "XNYS": (NEW_YORK, time(9, 30)),
    "XNAS": (NEW_YORK, time(9, 30)),
    "24x5": (NEW_YORK, time(17)),
}


def session_at(exchange: str, ts: int) -> TradingSession:
    """Return the session that is open at a time, else the last one that was."""
    if exchange in EVERY_DAY:
        return utc_day(ts)
    return _table(exchange, gmtime(ts / 1000).tm_year).session_at(ts)


def opens(exchange: str, year: int) -> list[int]:
    """Return when the sessions open whose trading day lies in the year."""
    return [start for start, _, _ in _labelled(exchange, year)]


_Sessions = list[tuple[int, int, bool]]


@lru_cache(maxsize=256)
def _table(exchange: str, year: int) -> SessionTable:
    return table_of_years(exchange, range(year, year + 1))


def table_of_years(exchange: str, years: range) -> SessionTable:
    """Return the sessions of these years and of one year on either side, for what crosses New Year."""
    around = range(years.start - 1, years.stop + 1)
    rows = sorted(row for year in around for row in _labelled(exchange, year))
    opens, closes, certain = zip(*rows, strict=True)
    return SessionTable(list(opens), list(closes), list(certain))


@lru_cache(maxsize=512)
def _labelled(exchange: str, year: int) -> _Sessions:
    """The sessions whose trading day lies in the year, in order."""
    check_exchange(exchange.removeprefix(CONTINUOUS))
    if exchange.startswith(CONTINUOUS):
        return _continuous(exchange.removeprefix(CONTINUOUS), year)
    if exchange == "24x5":
        return _forex(year)
    return _corrected(exchange, year, _listed(exchange, year))


def _days(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]


def _ms(day: date, at: time, zone: str) -> int:
    return round(datetime.combine(day, at, ZoneInfo(zone)).timestamp() * 1000)


def _continuous(exchange: str, year: int) -> _Sessions:
    if exchange not in _DAILY_OPEN:
        raise StocksBlitzError("invalid_parameter", f"no continuous calendar is known for {exchange!r}")
    zone, at = _DAILY_OPEN[exchange]
    starts = [_ms(day, at, zone) for day in [*_days(year), date(year + 1, 1, 1)]]
    return [(start, end, True) for start, end in pairwise(starts)]


def _forex(year: int) -> _Sessions:
    """Monday's session opens on Sunday at 17:00 in New York. Only 1 January and 25 December have none."""
    five, eve = time(17), timedelta(days=1)
    days = [d for d in _days(year) if d.weekday() < 5 and (d.month, d.day) not in ((1, 1), (12, 25))]
    return [(_ms(d - eve, five, NEW_YORK), _ms(d, five, NEW_YORK), True) for d in days]


def _listed(exchange: str, year: int) -> _Sessions:
    import exchange_calendars

    name = _LIBRARY_NAME.get(exchange, exchange)
    try:
        calendar = exchange_calendars.get_calendar(name, start=f"{year}-01-01", end=f"{year}-12-31")
    except (ValueError, NotImplementedError):  # the latter for years before an exchange's rules are known
        return _ordinary_week(exchange, name, year)
    rows = zip(calendar.opens, calendar.closes, strict=True)
    sessions = [(o.value // 1_000_000, c.value // 1_000_000, True) for o, c in rows]
    return [(o, o + _GLOBEX_MS, s) for o, _, s in sessions] if name == "CMES" else sessions


def _ordinary_week(exchange: str, name: str, year: int) -> _Sessions:
    """The hours most sessions of the nearest covered year have, on every working day."""
    import exchange_calendars

    kind = type(exchange_calendars.get_calendar(name))
    first, last = kind.bound_min(), kind.bound_max()
    nearest = (
        last.year if last is not None and year > last.year else first.year + 1 if first is not None else year
    )
    if nearest == year:
        raise StocksBlitzError("invalid_parameter", f"no sessions of {exchange} are known for {year}")
    zone = str(exchange_calendars.get_calendar(name).tz)
    hours = Counter(_local_hours(o, c, zone) for o, c, _ in _listed(exchange, nearest)).most_common(1)[0][0]
    days = [day for day in _days(year) if day.weekday() < 5]
    return [(_ms(day, hours[0], zone), _ms(day, hours[1], zone), False) for day in days]


def _local_hours(start: int, end: int, zone: str) -> tuple[time, time]:
    return _local(start, zone).time(), _local(end, zone).time()


def _local(ts: int, zone: str) -> datetime:
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone(ZoneInfo(zone))


def _corrected(exchange: str, year: int, sessions: _Sessions) -> _Sessions:
    """Sessions with our own table applied: a day there replaces the library's, or takes it away."""
    table = OVERRIDES.get(exchange)
    if table is None:
        return sessions
    ours = {day: hours for day, hours in table.days.items() if day.year == year}
    kept = [row for row in sessions if _local(row[0], table.zone).date() not in ours]
    added = [
        (_ms(d, h[0], table.zone), _ms(d, h[1], table.zone), True) for d, h in ours.items() if h is not None
    ]
    return sorted(kept + added)
