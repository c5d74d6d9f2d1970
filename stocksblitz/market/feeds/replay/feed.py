"""A file of bars played again: its rows come out exactly as they are, larger timeframes are built from them.

The place in the file is kept in Redis with each flush, after the bars before it: a feed that was killed goes on there,
and what it writes twice is the same.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import gmtime
from typing import Any

import orjson
from django.conf import settings

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.overrides import check_exchange
from stocksblitz.market.core.bars import DAY_MS, TIMEFRAMES, Bar, Closed, Ladder
from stocksblitz.market.feeds.base import ClosedBars, Feed, FeedQuote, SymbolState
from stocksblitz.market.feeds.instruments import check_symbol, ensure_instruments, terms_of
from stocksblitz.market.feeds.replay.backpressure import Readers
from stocksblitz.market.feeds.replay.csv_bars import Rows, read_rows
from stocksblitz.market.feeds.replay.demand import Demand, read_demand
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.observability.metrics import feed_rejected, feed_ticks
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

FAR_MS = 10 * 365 * DAY_MS
"""A replay's clock is its own: its prices do not get stale."""
_BATCH = 500
"""Rows of one flush at most; full speed is many flushes, so that a stop is never far away."""
_LOGGED = 20
"""Broken lines that are logged one by one."""
_AHEAD = 64
"""Bars by which full speed is ahead of its slowest reader at most: what a session can hold while it reads."""
_BREATH_S = 0.002
"""How long full speed waits for its readers before it looks again."""
_bad_cursors = BadDataLog("replay_cursor")
_OPTIONS = {"symbol", "exchange", "speed", "loop", "timeframe"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the FEED setting says of a replay; ``speed`` is None at full speed."""

    path: Path
    symbol: str
    exchange: str
    speed: float | None
    loop: bool
    timeframe: str

    @classmethod
    def of(cls, spec: FeedSpec) -> "Options":
        """Read the setting; StocksBlitzError says what is wrong with it."""
        given = spec.options
        if unknown := given.keys() - _OPTIONS:
            raise _wrong(f"replay knows the options {', '.join(sorted(_OPTIONS))}, not {min(unknown)!r}")
        if not spec.target or "symbol" not in given:
            raise _wrong("a replay names its file and symbol: replay:FILE.csv?symbol=BTCUSD&exchange=24x7")
        check_symbol(given["symbol"])
        exchange = given.get("exchange", "24x7")
        check_exchange(exchange)
        if (timeframe := given.get("timeframe", "")) not in ("", *TIMEFRAMES):
            raise _wrong(f"timeframe is one of {', '.join(TIMEFRAMES)}, not {timeframe!r}")
        loop = given.get("loop", "false").lower() in ("true", "1", "yes")
        return cls(
            Path(spec.target), given["symbol"], exchange, _speed(given.get("speed", "1")), loop, timeframe
        )


def _wrong(message: str) -> StocksBlitzError:
    return StocksBlitzError("invalid_parameter", message)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise _wrong(f"speed is a number above 0, or max, not {text!r}")
    return speed


class Round:
    """One way through the rows, up to any of them."""

    def __init__(self, rows: Rows, exchange: str) -> None:
        self.rows = rows
        self.ladder = Ladder(lambda ts: calendars.session_at(exchange, ts), rows.timeframe)
        self.next = 0
        """Index of the row to come."""
        self.times: dict[str, list[int]] = {timeframe: [] for timeframe in self.ladder.timeframes}
        """Opening times of the bars closed so far."""
        self.traded = 0.0
        """Volume since the session opened."""
        self.session = 0
        """When the session of the last row opened."""

    def take(self) -> list[Closed]:
        """Close the next row, and the larger bars that end with it: the row after it is not part of them."""
        row = self.rows.bars[self.next]
        closed = self.ladder.add(row)
        bar = closed[-1][1]
        self.traded = bar.volume + (self.traded if bar.session == self.session else 0.0)
        self.session = bar.session
        self.next += 1
        closed += (
            self.ladder.pass_time(row.ts + self.ladder.length)
            if self.ended
            else self.ladder.begin(self.row.ts)
        )
        for timeframe, bar in closed:
            self.times[timeframe].append(bar.ts)
        return closed

    @property
    def ended(self) -> bool:
        """No row is left."""
        return self.next >= len(self.rows.bars)

    @property
    def row(self) -> Bar:
        """The row to come."""
        return self.rows.bars[self.next]


def decode_cursor(raw: bytes) -> tuple[int, int]:
    """Return the next row and the generation that a replay's cursor names."""
    match decode_json("replay cursor", raw):
        case {"row": int() as row, "gen": int() as gen} if 0 <= row <= MAX_MS and 0 <= gen <= MAX_MS:
            return row, gen
    raise BadData("replay cursor", raw, "an object with row and gen")


def glimpse(row: Bar, gone: float) -> Bar:
    """A row as far as it has come, when that share of its time is gone: open, the nearer extreme, the other, close."""
    near, far = (row.low, row.high) if row.close >= row.open else (row.high, row.low)
    seen = (row.open, near, far, row.close)[: 1 + min(3, int(gone * 4))]
    return row._replace(high=max(seen), low=min(seen), close=seen[-1], volume=row.volume * gone)


class ReplayFeed(Feed):
    """Rows at ``speed`` times their own time, or as fast as their readers follow; gaps between rows take no time."""

    source = "replay"

    def __init__(self, spec: FeedSpec, redis: Any, keys: Keys) -> None:
        super().__init__()
        self.options, self.redis, self.keys = Options.of(spec), redis, keys
        self.symbol = self.options.symbol
        self.rows = self._read()
        self.round = Round(self.rows, self.options.exchange)
        ahead = settings.HOT_BARS // 2
        self.readers = Readers(ahead if self.options.speed else min(ahead, _AHEAD))
        length = TIMEFRAMES[self.rows.timeframe]
        self.pace = length / self.options.speed if self.options.speed else 0.0
        """Milliseconds that a row takes."""
        self._due = 0.0
        """Wall clock at which the row to come closes."""

    @property
    def identity(self) -> str:
        stat, o = self.options.path.stat(), self.options
        file = f"{o.path.absolute()}:{stat.st_size}:{stat.st_mtime_ns}"
        return f"replay:{file}:{o.symbol}:{o.exchange}:{self.rows.timeframe}:{settings.HOT_BARS}"

    @property
    def finished(self) -> bool:
        return self.round.ended and not self.options.loop

    @property
    def cursor(self) -> str:
        return self.keys.name("replay", self.symbol)

    def years(self) -> range:
        first, last = (gmtime(self.rows.bars[end].ts / 1000).tm_year for end in (0, -1))
        return range(first, last + 1)

    async def open(self, *, intact: bool, gen: int) -> None:
        await ensure_instruments([terms_of(self.symbol, self.options.exchange, self.rows.decimals)])
        row, gen = await self._read_cursor(gen) if intact else (0, gen)
        await asyncio.to_thread(self._skip, row)
        market = SymbolState(self.symbol, gen, self.round.ladder.timeframes)
        self.markets = {self.symbol: market}
        market.dirty = True  # that there is nothing before the first row is known before it comes
        if self.round.next:
            self.readers.resume((await self._demand()).positions)
            self._show(market, self.rows.bars[self.round.next - 1], 1.0)

    async def step(self, now: int) -> bool:
        wanted, positions, held = await self._demand()
        if self.options.speed is None and (not wanted or held):
            return False
        if self.round.ended:
            return await self._rewind(wanted, positions)
        allowed = self.readers.allowance(wanted, positions, self.round.times)
        count = min(self._rows_due(now), allowed, _BATCH, len(self.rows.bars) - self.round.next)
        self._play(count, now)
        if self.options.speed is None and not count:
            await asyncio.sleep(_BREATH_S)
        return self.options.speed is None

    async def history(self, symbol: str) -> ClosedBars:
        return await asyncio.to_thread(self._history)

    def state(self, symbols: Collection[str]) -> dict[str, bytes]:
        place = {"row": self.round.next, "gen": self.markets[self.symbol].gen}
        return {self.cursor: orjson.dumps(place)}

    def _read(self) -> Rows:
        try:
            with self.options.path.open(encoding="utf-8-sig", newline="") as lines:
                rows = read_rows(lines, self.options.timeframe)
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(f"the file {self.options.path} cannot be read: {error}") from None
        for line, reason in rows.broken[:_LOGGED]:
            log.warning("line %d is skipped: %s", line, reason, extra={"action": "broken_row", "line": line})
        if rows.broken:
            feed_rejected.labels("broken_row").inc(len(rows.broken))
            extra = {"action": "broken_rows", "skipped": len(rows.broken), "rows": len(rows.bars)}
            log.warning("the file has lines that cannot be used", extra=extra)
        return rows

    async def _read_cursor(self, gen: int) -> tuple[int, int]:
        """Return the next row and the generation of the hot store; from the first row where they cannot be read."""
        with _bad_cursors.skip(self.cursor):
            [raw] = await each_answer(self.redis.pipeline(transaction=False).get(self.cursor))
            return decode_cursor(good(raw)) if raw else (0, gen)
        return 0, gen

    def _skip(self, rows: int) -> None:
        while self.round.next < min(rows, len(self.rows.bars)):
            self.round.take()

    async def _demand(self) -> Demand:
        return await read_demand(self.redis, self.keys, self.symbol, self.round.ladder.timeframes)

    def _rows_due(self, now: int) -> int:
        if self.options.speed is None:
            return _BATCH
        if not self._due:
            self._due = now + self.pace
        return max(0, int((now - self._due) // self.pace) + 1) if now >= self._due else 0

    def _play(self, count: int, now: int) -> None:
        market = self.markets[self.symbol]
        for _ in range(count):
            market.close(self.round.take())
        if count:
            feed_ticks.inc(count)
            self._due = max(
                self._due + count * self.pace, now
            )  # what readers held up is not caught up in a rush
            self._show(market, self.rows.bars[self.round.next - 1], 1.0)
        if self.pace >= 4 * settings.FEED_FLUSH_MS and not self.round.ended:
            gone = 1 - (self._due - now) / self.pace
            if 0 <= gone < 1:
                self._show(market, self.round.row, gone)

    def _show(self, market: SymbolState, row: Bar, gone: float) -> None:
        """Set quote and forming bars to where the row is."""
        part = glimpse(row, gone) if gone < 1 else None
        last, ladder = part or row, self.round.ladder
        volume = self.round.traded
        if part and ladder.labelled(part).session == self.round.session:
            volume += part.volume
        elif part:
            volume = part.volume
        ts = row.ts + min(int(gone * ladder.length), ladder.length - 1)
        market.quote = FeedQuote(last.close, last.close, last.close, volume, ts)
        market.forming, market.last = ladder.forming(part), ladder.last
        market.fresh_until, market.dirty = now_ms() + FAR_MS, True

    async def _rewind(self, wanted: set[str], positions: dict[str, int]) -> bool:
        """Start over once every reader has all of this round; stay at the end when there is no loop."""
        if not self.options.loop or not self.readers.caught_up(wanted, positions, self.round.times):
            return False
        market = self.markets[self.symbol]
        if market.closed:
            return True
        await self.redis.hdel(self.keys.positions, *(f"{self.symbol}|{tf}" for tf in self.round.times))
        self.round, self.readers = Round(self.rows, self.options.exchange), Readers(self.readers.limit)
        market.gen, market.reset, market.forming, market.last = market.gen + 1, True, {}, {}
        market.dirty, self._due = True, 0.0
        log.info("the replay begins again", extra={"action": "loop", "gen": market.gen})
        return True

    def _history(self) -> ClosedBars:
        history: dict[str, list[Bar]] = {timeframe: [] for timeframe in self.round.times}
        again = Round(self.rows, self.options.exchange)
        while again.next < self.round.next:
            for timeframe, bar in again.take():
                history[timeframe].append(bar)
        return history
