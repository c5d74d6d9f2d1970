"""The living option chain of one simulated underlying: quotes, Greeks and open interest once a second.

Options have bars only while they have a subscriber: their history is computed then, and counts as a new generation.
"""

import asyncio
from dataclasses import dataclass, field

import orjson

from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.sessions import CONTINUOUS
from stocksblitz.market.core.bars import DAY_MS, Bar, Closed, Ladder
from stocksblitz.market.core.options import Chain, Contract, Interest, interest_of
from stocksblitz.market.feeds.base import ClosedBars, FeedQuote, SymbolState
from stocksblitz.market.feeds.instruments import ensure_contracts
from stocksblitz.market.feeds.simulated import option_prices as pricing
from stocksblitz.market.feeds.simulated.price_path import Minutes, Simulation
from stocksblitz.market.feeds.simulated.profiles import Profile

SESSIONS = 5
"""Sessions that an option's history covers."""


@dataclass(slots=True)
class ChainView:
    """Where the underlying is: its quote, its minute so far, and the session it is in."""

    quote: FeedQuote
    part: Bar
    minutes: Minutes
    done: int
    """Minutes of the session that are closed."""

    @property
    def opened(self) -> int:
        return int(self.minutes.opens[0])


@dataclass(slots=True)
class OptionBars:
    """The bars of one wanted option."""

    ladder: Ladder
    opened: int
    """The session that it is in."""
    done: int = 0
    """Minutes of that session that are closed."""
    bars: list[Bar] = field(default_factory=list)
    """The session's minutes, to its end."""


class SimulatedChain:
    """``gen``: the generation of the contracts' past as long as nobody wanted any."""

    def __init__(self, simulation: Simulation, gen: int) -> None:
        self.simulation, self.profile = simulation, simulation.profile
        self.chain = Chain([], pricing.RATE)
        self.markets: dict[str, SymbolState] = {}
        self.wanted: dict[str, OptionBars] = {}
        self._gen = gen
        self._session = 0
        self._until = 0

    async def refresh(self, view: ChainView, now: int) -> set[str]:
        """List new contracts at the start, with each session, and after each expiry; returns those that expired."""
        if view.opened == self._session and now < self._until:
            return set()
        listed = pricing.contracts(self.profile, self._anchor(view), now)
        self.chain.contracts = await ensure_contracts(_terms(self.profile), listed, now)
        self._session = view.opened
        self._until = min(contract.expiry for contract in self.chain.contracts)
        known = {contract.symbol for contract in self.chain.contracts}
        for symbol in known - self.markets.keys():
            self.markets[symbol] = SymbolState(symbol, self._gen)
        gone = self.markets.keys() - known
        for symbol in gone:
            del self.markets[symbol]
            self.wanted.pop(symbol, None)
        return gone

    async def want(self, symbols: set[str], view: ChainView, now: int) -> None:
        """Build bars of the contracts that have a subscriber, and stop building them for the others."""
        for symbol in self.wanted.keys() - symbols:
            del self.wanted[symbol]
            self.markets[symbol].forming, self.markets[symbol].last = {}, {}
        contracts = {contract.symbol: contract for contract in self.chain.contracts}
        for symbol in (symbols & contracts.keys()) - self.wanted.keys():
            history, bars = await asyncio.to_thread(self._begin, contracts[symbol], view)
            market = self.markets[symbol]
            market.reset, market.closed, market.gen = True, [], now
            market.close(history)
            self.wanted[symbol] = bars

    def history(self, symbol: str, view: ChainView) -> ClosedBars:
        """Closed bars of a wanted contract; others have none."""
        contract = next(option for option in self.chain.contracts if option.symbol == symbol)
        history: dict[str, list[Bar]] = {}
        for timeframe, bar in self._begin(contract, view)[0] if symbol in self.wanted else []:
            history.setdefault(timeframe, []).append(bar)
        return history

    def move(self, underlying: SymbolState, view: ChainView, now: int, allowance: int) -> None:
        """Bring every contract, and the underlying's Greeks and open interest, to where the underlying is."""
        premiums, interests = {}, {}
        anchor = self._anchor(view)
        for contract in self.chain.live(now):
            part = self._part(contract, view, anchor)
            premiums[contract.symbol] = part.close
            interests[contract.symbol] = pricing.interest(contract, self.profile, now)
            self._quote(contract, part, view, anchor)
            self.markets[contract.symbol].fresh_until = now + allowance
        forwards = self.chain.forwards(premiums, now)
        for contract in self.chain.live(now):
            self._annotate(contract, premiums, forwards, interests, now)
        underlying.greeks = _json(self.chain.at_the_money(premiums, forwards, now))
        underlying.oi = _json(self.chain.interest(interests, now))
        underlying.dirty = True

    def _anchor(self, view: ChainView) -> float:
        return float(view.minutes.open[0, 0]) / self.profile.ticks_per_unit

    def _part(self, contract: Contract, view: ChainView, anchor: float) -> Bar:
        """The contract's minute so far: the underlying's, priced; volume counts from the session's open."""
        part, minute = view.part, view.part.ts
        o, h, low, c = (
            int(pricing.premium(contract, self.profile, each, minute, anchor)) / pricing.TICKS_PER_UNIT
            for each in part[1:5]
        )
        weight = pricing.share(contract, self.profile, anchor)
        before = int((view.quote.volume - part.volume) * weight)
        volume = int(view.quote.volume * weight) - before
        return Bar(minute, o, max(h, low), min(h, low), c, float(volume), view.opened)

    def _quote(self, contract: Contract, part: Bar, view: ChainView, anchor: float) -> None:
        market, tick = self.markets[contract.symbol], 1 / pricing.TICKS_PER_UNIT
        traded = float(int(view.quote.volume * pricing.share(contract, self.profile, anchor)))
        bid = round(max(part.close - tick, tick), 2)
        market.quote = FeedQuote(part.close, bid, round(part.close + tick, 2), traded, view.quote.ts)
        market.dirty = True
        if (bars := self.wanted.get(contract.symbol)) is not None:
            market.close(self._advance(contract, bars, view))
            market.forming, market.last = bars.ladder.forming(part), bars.ladder.last

    def _advance(self, contract: Contract, bars: OptionBars, view: ChainView) -> list[Closed]:
        """Close the contract's minutes that are over."""
        closed: list[Closed] = []
        if bars.opened != view.opened:
            closed += _add(bars, len(bars.bars))
            bars.opened, bars.done = view.opened, 0
            bars.bars = pricing.minute_bars(contract, self.profile, view.minutes)
        return closed + _add(bars, view.done) + bars.ladder.pass_time(view.part.ts)

    def _begin(self, contract: Contract, view: ChainView) -> tuple[list[Closed], OptionBars]:
        """Return a contract's history, and the builder of its bars from here on."""
        exchange = CONTINUOUS + self.profile.exchange
        opens = self.simulation.session_opens(view.opened - SESSIONS * DAY_MS, view.opened)[:-1]
        bars = OptionBars(Ladder(lambda ts: calendars.session_at(exchange, ts)), 0)
        closed: list[Closed] = []
        for minutes in self.simulation.minutes(opens):
            for minute in pricing.minute_bars(contract, self.profile, minutes):
                closed += bars.ladder.add(minute)
        return closed + self._advance(contract, bars, view), bars

    def _annotate(
        self,
        contract: Contract,
        premiums: dict[str, float],
        forwards: dict[int, float],
        interests: dict[str, Interest],
        now: int,
    ) -> None:
        market, forward = self.markets[contract.symbol], forwards.get(contract.expiry)
        premium = premiums[contract.symbol]
        market.greeks = _json(self.chain.greeks_of(contract, premium, forward, now) if forward else None)
        market.oi = _json(interest_of(interests[contract.symbol]))


def _add(bars: OptionBars, until: int) -> list[Closed]:
    closed: list[Closed] = []
    for minute in bars.bars[bars.done : until]:
        closed += bars.ladder.add(minute)
    bars.done = max(bars.done, until)
    return closed


def _json(value: object) -> bytes:
    return b"" if value is None else orjson.dumps(value)


def _terms(profile: Profile) -> dict[str, object]:
    return {
        "underlying": profile.symbol,
        "exchange": profile.exchange,
        "currency": profile.currency,
        "tick_size": "0.05",
        "lot_size": "25",
    }
