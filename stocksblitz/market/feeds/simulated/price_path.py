"""The simulated price: a pure function of seed, symbol and time.

Three levels, each pinned to the one above: the logarithm of the price at a session's open is a mean-reverting walk over
days; the minutes of a session are a bridge between two opens; the ticks of a minute are a path that begins at its open,
touches exactly its high and its low, and ends at its close. Every number is drawn from a stream whose place is given by
(seed, symbol, day) or (seed, symbol, minute), so that any moment can be computed without the ones before.

Prices and volumes are whole numbers (of ticks, of units) until they become bars: sums of them are exact.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.sessions import CONTINUOUS
from stocksblitz.market.core.bars import DAY_MS, MINUTE_MS, TIMEFRAMES, Bar
from stocksblitz.market.feeds.simulated.profiles import Profile

TICK_MS = 250
TICKS = MINUTE_MS // TICK_MS
_EPOCH_MS = 1_388_534_400_000
"""1 January 2014: day 0 of the walk."""
_REVERSION = 0.993
"""What is left of a distance from the ordinary price after a day: it stays within some ten times a day's move."""
_LONGEST = 1_500
"""Minutes of the longest session: a day on which New York's clocks go back."""
_DRAWS = 4 * _LONGEST
_CHUNK = 128
"""Sessions computed at once: few enough to stay in the processor's cache."""

Ints = Any
"""An array of whole numbers."""


class Minutes(NamedTuple):
    """Minutes of consecutive sessions of one length: one row per session, prices in ticks."""

    opens: Ints
    """When each session opens, ms."""
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints


class Path(NamedTuple):
    """The ticks of one minute; extremes and volume as far as they have come, prices in ticks."""

    price: Ints
    high: Ints
    low: Ints
    volume: Ints


@lru_cache(maxsize=64)
def _opens(exchange: str, year: int) -> list[int]:
    return calendars.opens(CONTINUOUS + exchange, year)


@dataclass(slots=True)
class Simulation:
    """One instrument's prices at all times."""

    seed: int
    profile: Profile
    _levels: Any = None

    def session_opens(self, first: int, last: int) -> list[int]:
        """When the sessions open that touch the time from ``first`` to ``last``, and the next open after them."""
        years = range(_year(first) - 1, _year(last) + 2)
        opens = [at for year in years for at in _opens(self.profile.exchange, year)]
        return opens[bisect_right(opens, first) - 1 : bisect_right(opens, last) + 1]

    def minutes(self, opens: list[int]) -> Iterator[Minutes]:
        """The minutes of the sessions that begin at ``opens``; the last of them is only the end of the one before."""
        lengths = [(b - a) // MINUTE_MS for a, b in pairwise(opens)]
        start = 0
        while start < len(lengths):
            stop = start + 1
            while stop < len(lengths) and stop - start < _CHUNK and lengths[stop] == lengths[start]:
                stop += 1
            yield self._block(np.array(opens[start:stop], dtype=np.int64), lengths[start])
            start = stop

    def path(self, minute: int, bar: tuple[int, int, int, int, int]) -> Path:
        """The ticks of the minute (its opening time), whose open, high, low, close and volume are given."""
        start, high, low, end, volume = bar
        rng = np.random.Generator(np.random.PCG64([self.seed, self._code, minute // MINUTE_MS]))
        first, second = sorted(rng.choice(TICKS - 2, 2, replace=False) + 1)
        early, late = (high, low) if rng.random() < 0.5 else (low, high)
        line = np.interp(np.arange(TICKS), (0, first, second, TICKS - 1), (start, early, late, end))
        price = (
            np.rint(line + rng.normal(0, 0.08 * (high - low) + 1e-9, TICKS)).astype(np.int64).clip(low, high)
        )
        price[[0, first, second, TICKS - 1]] = start, early, late, end
        done = volume * np.arange(1, TICKS + 1, dtype=np.int64) // TICKS
        return Path(price, np.maximum.accumulate(price), np.minimum.accumulate(price), done)

    @property
    def _code(self) -> int:
        return zlib.crc32(self.profile.symbol.encode())

    def _level(self, days: Any) -> Any:
        """Logarithm of the price at the opens of the days, relative to the ordinary one."""
        if self._levels is None or days[-1] >= len(self._levels):
            self._levels = self._walk(int(days[-1]) + 400)
        return self._levels[days]

    def _walk(self, days: int) -> Any:
        steps = np.random.Generator(np.random.PCG64([self.seed, self._code])).standard_normal(days)
        level, levels = 0.0, np.empty(days)
        for i, step in enumerate(steps * self.profile.daily_move):
            levels[i] = level = _REVERSION * level + step
        return levels

    def _block(self, opens: Any, length: int) -> Minutes:
        days = (opens - _EPOCH_MS) // DAY_MS
        draw = self._draws(int(days[0]), len(days))
        step, up, down, size = (draw[:, i * _LONGEST : i * _LONGEST + length] for i in range(4))
        minute_move = self.profile.daily_move / 1440**0.5
        start, end = self._level(days)[:, None], self._level(days + 1)[:, None]
        walk = np.cumsum((step - 0.5) * (12**0.5 * minute_move), axis=1)
        gone = np.arange(1, length + 1) / length
        level = start + walk + gone * (end - start - walk[:, -1:])
        level[:, -1:] = end
        close = self._ticks(level)
        open_ = np.concatenate([self._ticks(start), close[:, :-1]], axis=1)
        wick = self.profile.price * self.profile.ticks_per_unit * minute_move
        high = np.maximum(open_, close) + np.rint(up * up * wick).astype(np.int64)
        low = np.minimum(open_, close) - np.rint(down * down * wick).astype(np.int64)
        busy = 0.6 + 1.6 * (2 * gone - 1) ** 2
        volume = (self.profile.volume * busy * (0.3 + 1.4 * size)).astype(np.int64) + 1
        return Minutes(opens, open_, high, np.maximum(low, 1), close, volume)

    def _draws(self, day: int, days: int) -> Any:
        bits = np.random.PCG64([self.seed, self._code, 1])
        bits.advance(day * _DRAWS)
        return np.random.Generator(bits).random(days * _DRAWS).reshape(days, _DRAWS)

    def _ticks(self, level: Any) -> Any:
        price = self.profile.price * self.profile.ticks_per_unit
        return np.maximum(np.rint(price * np.exp(level)), 2).astype(np.int64)


def bars(minutes: Minutes, timeframe: str, ticks_per_unit: int) -> list[Bar]:
    """The bars of a timeframe in whole sessions."""
    sessions, length = minutes.open.shape
    per_bar = min(TIMEFRAMES[timeframe] // MINUTE_MS, length) if timeframe != "1d" else length
    starts = np.arange(0, length, per_bar)
    ends = np.append(starts[1:], length) - 1
    ts = minutes.opens[:, None] + starts * MINUTE_MS
    session = np.broadcast_to(minutes.opens[:, None], (sessions, len(starts)))
    columns = (
        ts,
        minutes.open[:, starts] / ticks_per_unit,
        np.maximum.reduceat(minutes.high, starts, axis=1) / ticks_per_unit,
        np.minimum.reduceat(minutes.low, starts, axis=1) / ticks_per_unit,
        minutes.close[:, ends] / ticks_per_unit,
        np.add.reduceat(minutes.volume, starts, axis=1).astype(float),
        session,
    )
    return list(map(Bar, *(column.ravel().tolist() for column in columns)))


def _year(ts: int) -> int:
    return int(np.datetime64(ts, "ms").astype("datetime64[Y]").astype(int)) + 1970
