"""Builds bars of every timeframe from ticks.

`Ladder` builds every timeframe from the closed bars of the smallest one; `TickBar` makes the smallest one out of ticks.
A bar closes when a tick of a later bar arrives or when the clock passes its end. A time without trades has no bar.
"""

from collections import Counter
from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
TIMEFRAMES: dict[str, int] = {
    "1min": MINUTE_MS,
    "3min": 3 * MINUTE_MS,
    "5min": 5 * MINUTE_MS,
    "15min": 15 * MINUTE_MS,
    "30min": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
}
"""Timeframe to its length in milliseconds."""
MIN_PRICE, MAX_PRICE = 1e-12, 1e12
"""Bounds of a price in any currency: products and reciprocals of such prices, and sums of them, stay finite."""
MAX_VOLUME = 1e18
"""Bound of what is traded in one session, in units; the largest crypto markets see 1e16."""


class Bar(NamedTuple):
    """One bar. ``ts`` is its opening time and ``session`` that of the exchange session it belongs to, both ms UTC."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: int = 0


class TradingSession(NamedTuple):
    """A session from ``open`` to ``close``; times up to ``until`` (the next open) belong to it too.

    ``certain`` is False when no calendar covers the year and the exchange's ordinary week stands in.
    """

    open: int
    close: int
    until: int
    certain: bool = True


EVERY_DAY = ("24x7", "continuous:24x7")
"""Exchanges that never close: each UTC day is a session."""


def utc_day(ts: int) -> TradingSession:
    """Return the session of a time on such an exchange."""
    start = ts - ts % DAY_MS
    return TradingSession(start, start + DAY_MS, start + DAY_MS)


Closed = tuple[str, Bar]
"""A timeframe and a bar of it that is final."""
Sessions = Callable[[int], TradingSession]
"""Maps a time (ms UTC) to the exchange session that it belongs to."""


def opening(session: TradingSession, length: int, ts: int) -> int:
    """Return when the bar of that length (ms) begins that a time belongs to.

    A time at or after the close belongs to the session's last bar; a day's bar is the whole session.
    """
    if length >= TIMEFRAMES["1d"]:
        return session.open
    return session.open + (min(ts, session.close - 1) - session.open) // length * length


def ending(session: TradingSession, length: int, start: int) -> int:
    """Return when the bar ends that begins at ``start``: its length later, at the latest with the session."""
    return session.close if length >= TIMEFRAMES["1d"] else min(start + length, session.close)


def joined(bar: Bar, part: Bar) -> Bar:
    """Return the bar with a later part of it added."""
    high, low = max(bar.high, part.high), min(bar.low, part.low)
    return Bar(bar.ts, bar.open, high, low, part.close, bar.volume + part.volume, bar.session)


def fault(bar: Bar) -> str | None:
    """Say what is wrong with a bar's numbers; None when they are a possible bar."""
    _, first, high, low, close, volume, _ = bar
    if MIN_PRICE <= low <= first <= high <= MAX_PRICE and low <= close <= high and 0 <= volume <= MAX_VOLUME:
        return None
    if not all(map(isfinite, bar[1:6])):
        return "a number is missing or not finite"
    if bar.low <= 0:
        return f"prices must be above 0, low is {bar.low:g}"
    if bar.low < MIN_PRICE or bar.high > MAX_PRICE:
        return f"prices must lie between {MIN_PRICE:g} and {MAX_PRICE:g}, low is {bar.low:g} and high {bar.high:g}"
    if not 0 <= bar.volume <= MAX_VOLUME:
        return f"volume must lie between 0 and {MAX_VOLUME:g}, it is {bar.volume:g}"
    return f"high {bar.high:g} and low {bar.low:g} do not enclose open {bar.open:g} and close {bar.close:g}"


class Ladder:
    """Builds bars of every timeframe from closed bars of the smallest one, anchored to the exchange's sessions.

    Larger timeframes are those whose length is a multiple of the smallest one's.
    """

    def __init__(self, sessions: Sessions, base: str = "1min") -> None:
        self.base, self.length = base, TIMEFRAMES[base]
        self.larger = {
            name: ms for name, ms in TIMEFRAMES.items() if ms > self.length and not ms % self.length
        }
        self.timeframes = (base, *self.larger)
        self.last: dict[str, int] = {}
        """Timeframe to the opening time of the bar closed last."""
        self._sessions = sessions
        self._session = TradingSession(0, 0, 0)
        self._open: dict[str, Bar] = {}
        self._ends: dict[str, int] = {}

    def session(self, ts: int) -> TradingSession:
        """Return the session that a time belongs to; mostly it is the same as in the call before."""
        if not self._session.open <= ts < self._session.until:
            self._session = self._sessions(ts)
        return self._session

    def start(self, ts: int) -> int:
        """Return when the smallest bar begins that a time belongs to."""
        return opening(self.session(ts), self.length, ts)

    def labelled(self, bar: Bar) -> Bar:
        """Return the bar with its session; a given daily bar is a session of its own."""
        return bar._replace(session=bar.ts if self.base == "1d" else self.session(bar.ts).open)

    def begin(self, ts: int) -> list[Closed]:
        """Close the larger bars that end before ``ts``; a part of that time is about to be added."""
        if not self._open:
            return []
        session = self.session(ts)
        done = [n for n, bar in self._open.items() if opening(session, self.larger[n], ts) > bar.ts]
        return self._close(done)

    def pass_time(self, now: int) -> list[Closed]:
        """Close the larger bars whose end the clock has reached."""
        return self._close([n for n, end in self._ends.items() if end <= now])

    def add(self, bar: Bar) -> list[Closed]:
        """Take the next closed bar of the smallest timeframe; return the bars that are final now, oldest first."""
        bar = self.labelled(bar)
        closed = self.begin(bar.ts)
        closed.append((self.base, bar))
        self.last[self.base] = bar.ts
        session = self.session(bar.ts)
        for name, length in self.larger.items():
            whole = self._open.get(name)
            if whole is None:
                start = opening(session, length, bar.ts)
                self._open[name] = bar._replace(ts=start)
                self._ends[name] = ending(session, length, start)
            else:
                self._open[name] = joined(whole, bar)
        return closed

    def forming(self, part: Bar | None) -> dict[str, Bar]:
        """Return the bars that are not closed; ``part`` is the forming smallest bar, for which `begin` was called."""
        if part is None:
            return dict(self._open)
        part = self.labelled(part)
        session, bars = self.session(part.ts), {self.base: part}
        for name, length in self.larger.items():
            whole = self._open.get(name)
            bars[name] = joined(whole, part) if whole else part._replace(ts=opening(session, length, part.ts))
        return bars

    def restore(self, last: dict[str, int], unfinished: dict[str, Bar]) -> None:
        """Continue where another ladder ended: with the bars it closed last and its larger bars without the part."""
        self.last = dict(last)
        self._open = {name: bar for name, bar in unfinished.items() if name in self.larger}
        self._ends = {
            n: ending(self.session(bar.ts), self.larger[n], bar.ts) for n, bar in self._open.items()
        }

    def _close(self, names: list[str]) -> list[Closed]:
        closed = []
        for name in names:
            bar = self._open.pop(name)
            del self._ends[name]
            self.last[name] = bar.ts
            closed.append((name, bar))
        return closed


class TickBars:
    """Builds bars of every timeframe from ticks; a tick that cannot be used is counted in ``refused``."""

    def __init__(self, sessions: Sessions) -> None:
        self.ladder = Ladder(sessions)
        self.part: Bar | None = None
        """The forming bar of the smallest timeframe."""
        self.newest = 0
        self.refused: Counter[str] = Counter()

    def tick(self, ts: int, price: float, volume: float = 0.0) -> list[Closed]:
        """Take a trade (``volume`` is its own, not the day's); return the bars that it closed."""
        reason, start = self._objection(ts, price, volume), self.ladder.start(ts)
        if reason or (reason := self._misplaced(ts, start)):
            self.refused[reason] += 1
            return []
        self.newest = ts
        closed = self._finish() if self.part and start > self.part.ts else []
        closed += self.ladder.begin(start)
        tick = Bar(start, price, price, price, price, volume, self.ladder.session(ts).open)
        self.part = joined(self.part, tick) if self.part else tick
        return closed

    def pass_time(self, now: int) -> list[Closed]:
        """Close the bars whose end the clock has passed."""
        closed = []
        if self.part and ending(self.ladder.session(self.part.ts), self.ladder.length, self.part.ts) <= now:
            closed = self._finish()
        return closed + self.ladder.pass_time(now)

    def forming(self) -> dict[str, Bar]:
        """Return the bars that are not closed."""
        return self.ladder.forming(self.part)

    def _finish(self) -> list[Closed]:
        part, self.part = self.part, None
        return self.ladder.add(part) if part else []

    @staticmethod
    def _objection(ts: int, price: float, volume: float) -> str:
        if not MIN_PRICE <= price <= MAX_PRICE:
            return "bad_price"
        return "" if 0 <= volume <= MAX_VOLUME else "bad_volume"

    def _misplaced(self, ts: int, start: int) -> str:
        current = self.part.ts if self.part else None
        if start <= self.ladder.last.get(self.ladder.base, -1) or ts < self.newest:
            return "late"
        return "closed_exchange" if ts >= self.ladder.session(ts).close and start != current else ""
