"""The simulated market: recognisable instruments that move round the clock, the same for everyone with the same seed."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.sessions import CONTINUOUS
from stocksblitz.market.core import greeks
from stocksblitz.market.core.bars import DAY_MS, MINUTE_MS, TIMEFRAMES, Bar, Closed, Ladder
from stocksblitz.market.feeds.base import ClosedBars, Feed, FeedQuote, SymbolState
from stocksblitz.market.feeds.instruments import ensure_instruments
from stocksblitz.market.feeds.simulated.option_chain import ChainView, SimulatedChain
from stocksblitz.market.feeds.simulated.price_path import TICK_MS, Minutes, Path, Simulation, bars
from stocksblitz.market.feeds.simulated.profiles import PROFILES, Profile
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.observability.metrics import feed_ticks
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

CHAIN_MS = 1_000
"""Each option chain moves once in this time."""
DAYS = 1_600
"""Daily bars of the past at most: each is made of 1,440 minutes, and the first start must not take long."""
ALLOWANCE_MS = 5_000
"""A simulated price older than this is stale: its feed is gone."""


@dataclass(slots=True)
class Course:
    """One simulated instrument on its way: the session it is in, and how far it has come."""

    simulation: Simulation
    ladder: Ladder
    minutes: Minutes
    """Of the session it is in."""
    until: int
    """When the next session opens."""
    done: int = 0
    """Minutes of the session that are closed."""
    traded: int = 0
    """Volume of those."""
    path: Path | None = None
    closed: list[Closed] = field(default_factory=list)

    @classmethod
    def at(cls, simulation: Simulation, ts: int) -> "Course":
        """The course at the open of the session that the moment lies in."""
        exchange = CONTINUOUS + simulation.profile.exchange
        ladder = Ladder(lambda at: calendars.session_at(exchange, at))
        opens = simulation.session_opens(ts, ts)
        return cls(simulation, ladder, next(simulation.minutes(opens)), opens[-1])

    def move(self, now: int) -> None:
        """Close the minutes that are over at ``now``."""
        while now >= self.until:
            self._finish(self.minutes.open.shape[1])
            opens = self.simulation.session_opens(self.until, self.until)
            self.minutes, self.until = next(self.simulation.minutes(opens)), opens[-1]
            self.done, self.traded = 0, 0
        self._finish((now - self.opened) // MINUTE_MS)
        self.closed += self.ladder.pass_time(now)

    @property
    def opened(self) -> int:
        return int(self.minutes.opens[0])

    def now(self, now: int) -> tuple[FeedQuote, Bar]:
        """The quote and the minute as far as it has come."""
        row, minute = self._row(self.done), self.opened + self.done * MINUTE_MS
        if self.path is None:
            self.path = self.simulation.path(minute, row)
        profile, path, k = self.simulation.profile, self.path, (now - minute) // TICK_MS
        price, units = int(path.price[k]), profile.ticks_per_unit
        bid = price - profile.spread // 2
        volume = float(path.volume[k])
        quote = FeedQuote(
            price / units,
            bid / units,
            (bid + profile.spread) / units,
            self.traded + volume,
            minute + k * TICK_MS,
        )
        high, low = int(path.high[k]) / units, int(path.low[k]) / units
        return quote, Bar(minute, row[0] / units, high, low, price / units, volume, self.opened)

    def view(self, now: int) -> ChainView:
        """What an option of it needs to know."""
        self.move(now)
        return ChainView(*self.now(now), self.minutes, self.done)

    def _row(self, i: int) -> tuple[int, int, int, int, int]:
        m = self.minutes
        return (
            int(m.open[0, i]), int(m.high[0, i]), int(m.low[0, i]), int(m.close[0, i]), int(m.volume[0, i])
        )  # fmt: skip

    def _finish(self, minutes: int) -> None:
        units = self.simulation.profile.ticks_per_unit
        for i in range(self.done, minutes):
            o, h, low, c, volume = self._row(i)
            bar = Bar(
                self.opened + i * MINUTE_MS, o / units, h / units, low / units, c / units, float(volume)
            )
            self.closed += self.ladder.add(bar)
            self.traded += volume
            self.path = None
        self.done = max(self.done, minutes)


def chosen(spec: FeedSpec) -> tuple[Profile, ...]:
    """The instruments of ``simulated?symbols=NIFTY50,BTCUSD``; without the option all of them."""
    if unknown := spec.options.keys() - {"symbols"}:
        raise StocksBlitzError(
            "invalid_parameter", f"simulated knows the option symbols, not {min(unknown)!r}"
        )
    there = {profile.symbol: profile for profile in PROFILES}
    names = spec.options.get("symbols", ",".join(there)).split(",")
    if strange := [name for name in names if name not in there]:
        raise StocksBlitzError("invalid_parameter", f"symbols are of {', '.join(there)}, not {strange[0]!r}")
    return tuple(there[name] for name in dict.fromkeys(names))


class SimulatedFeed(Feed):
    """Everything it shows is made up, and says so: ``source`` is ``simulated``."""

    source = "simulated"

    def __init__(self, seed: int, redis: Any, keys: Keys, profiles: tuple[Profile, ...] = PROFILES) -> None:
        super().__init__()
        self.seed, self.redis, self.keys = seed, redis, keys
        self.simulations = {p.symbol: Simulation(seed, p) for p in profiles}
        self.courses: dict[str, Course] = {}
        self.chains: dict[str, SimulatedChain] = {}
        self._moved = 0
        self._waiting: list[str] = []
        self._intact, self._gen = False, 0

    @property
    def identity(self) -> str:
        return f"simulated:{self.seed}:{settings.HOT_BARS}:{','.join(self.simulations)}"

    @property
    def complete(self) -> bool:  # type: ignore[override]  # a constant of others
        """Return whether every instrument's history is handed over; each step hands over one."""
        return bool(self.courses) and not self._waiting

    @property
    def finished(self) -> bool:
        return self.complete

    async def open(self, *, intact: bool, gen: int) -> None:
        await ensure_instruments([_terms(s.profile) for s in self.simulations.values()])
        self._waiting, self._intact, self._gen = list(self.simulations), intact, gen
        chained = [simulation for simulation in self.simulations.values() if simulation.profile.strike_step]
        if chained:
            await asyncio.to_thread(greeks.warm_up)
        self.chains = {each.profile.symbol: SimulatedChain(each, gen) for each in chained}

    async def step(self, now: int) -> bool:
        if self._waiting:
            await self._begin(self._waiting[0], now)
            self._waiting.pop(0)
        for symbol, course in self.courses.items():
            self._move(self.markets[symbol], course, now)
        if not self._waiting:
            await self._move_chain(now)
        return bool(self._waiting)

    async def history(self, symbol: str) -> ClosedBars:
        if symbol in self.courses:
            return await asyncio.to_thread(self.whole_history, self.courses[symbol])
        chain = next(chain for chain in self.chains.values() if symbol in chain.markets)
        return await asyncio.to_thread(
            chain.history, symbol, self.courses[chain.profile.symbol].view(now_ms())
        )

    async def _begin(self, symbol: str, now: int) -> None:
        """Hand over an instrument's history; where it is written already, only the bars that may have closed since."""
        simulation = self.simulations[symbol]
        course = Course.at(simulation, now - DAY_MS if self._intact else now)
        market = SymbolState(symbol, self._gen)
        if not self._intact:
            history = await asyncio.to_thread(self._history, simulation, course.opened)
            market.close((timeframe, bar) for timeframe, bars in history.items() for bar in bars)
            course.ladder.restore({timeframe: bars[-1].ts for timeframe, bars in history.items()}, {})
            log.info("history filled", extra={"action": "history", "symbol": symbol})
        self.courses[symbol], self.markets[symbol] = course, market

    def whole_history(self, course: Course) -> ClosedBars:
        """Return the bars closed up to now, including those of this session."""
        history = {
            timeframe: list(found)
            for timeframe, found in self._history(course.simulation, course.opened).items()
        }
        again = Course.at(course.simulation, course.opened)
        again.move(course.opened + course.done * MINUTE_MS)
        for timeframe, bar in again.closed:
            history[timeframe].append(bar)
        return history

    async def _move_chain(self, now: int) -> None:
        """Move one chain at a time, each about once a second."""
        if not self.chains or now - self._moved < CHAIN_MS // len(self.chains):
            return
        self._moved = now
        symbol, chain = next(iter(self.chains.items()))
        self.chains[symbol] = self.chains.pop(symbol)  # the next one's turn comes next
        view = self.courses[symbol].view(now)
        for gone in await chain.refresh(view, now):
            del self.markets[gone]
        self.markets.update(chain.markets)
        await chain.want(await self._wanted(), view, now)
        chain.move(self.markets[symbol], view, now, ALLOWANCE_MS)

    async def _wanted(self) -> set[str]:
        members = await self.redis.smembers(self.keys.wanted)
        return {member.split(b"|", 1)[0].decode() for member in members}

    def _history(self, simulation: Simulation, until: int) -> ClosedBars:
        """The newest closed bars of the sessions before the one that opens at ``until``."""
        units = simulation.profile.ticks_per_unit
        wanted = {tf: min(settings.HOT_BARS, DAYS) if tf == "1d" else settings.HOT_BARS for tf in TIMEFRAMES}
        reach = {tf: until - (count + 1) * TIMEFRAMES[tf] - 2 * DAY_MS for tf, count in wanted.items()}
        history: dict[str, list[Bar]] = {timeframe: [] for timeframe in TIMEFRAMES}
        opens = simulation.session_opens(min(reach.values()), until)[:-1]
        for minutes in simulation.minutes(opens):
            for timeframe, found in history.items():
                if minutes.opens[-1] >= reach[timeframe]:
                    found += bars(minutes, timeframe, units)
        return {timeframe: found[-wanted[timeframe] :] for timeframe, found in history.items()}

    def _move(self, market: SymbolState, course: Course, now: int) -> None:
        course.move(now)
        quote, part = course.now(now)
        market.close(course.closed)
        course.closed = []
        if market.quote is not None and quote.ts == market.quote.ts and not market.closed:
            return
        feed_ticks.inc()
        market.quote, market.forming, market.last = quote, course.ladder.forming(part), course.ladder.last
        market.fresh_until, market.dirty = now + ALLOWANCE_MS, True


def _terms(profile: Profile) -> dict[str, object]:
    return {
        "symbol": profile.symbol,
        "name": f"{profile.name} (simulated)",
        "exchange": profile.exchange,
        "kind": profile.kind,
        "base_currency": profile.base_currency,
        "currency": profile.currency,
        "contract_size": profile.contract_size,
        "lot_size": profile.lot_size,
        "tick_size": f"{1 / profile.ticks_per_unit:.10f}",
        "margin_mode": profile.margin_mode,
        "margin_rate": profile.margin_rate,
    }
