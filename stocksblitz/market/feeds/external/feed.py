"""Another program writes the prices; this feed builds bars from them.

That program writes the hash ``market:{SYMBOL}`` (bid, ask, last, volume, ts) and publishes the symbol on
``market_price_updates``. Price and volume stay theirs; forming bars and closed ones are ours.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from math import isfinite, nan
from typing import Any

import orjson

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.core import greeks
from stocksblitz.market.core.announcements import decode_price_update
from stocksblitz.market.core.bars import TickBars, TradingSession
from stocksblitz.market.core.options import Chain, chains
from stocksblitz.market.feeds.bar_archive import Archive
from stocksblitz.market.feeds.base import ClosedBars, Feed, SymbolState
from stocksblitz.market.feeds.external.derivatives import chain_values
from stocksblitz.market.feeds.external.left_behind import counted_volume_name, read_left_behind
from stocksblitz.market.feeds.external.recovery import restore
from stocksblitz.market.feeds.external.ticks import (
    INTEREST_FIELDS,
    TICK_FIELDS,
    ExternalTick,
    Listing,
    decode_interest,
    decode_tick,
)
from stocksblitz.market.feeds.instruments import active_contracts, active_exchanges
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.observability.metrics import feed_rejected, feed_ticks
from stocksblitz.redis.client import each_answer, good
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.subscriber import Subscriber
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

GRACE_MS = 500
"""How long after its end a bar waits for ticks of its own that are still on their way."""
LEARN_S = 2.0
"""Unknown symbols are looked up in the database at most this often."""
_OPTIONS = {"stale", "rate"}
CHAIN_S = 1.0
"""How often Greeks and open interest are computed."""


def _option(spec: FeedSpec, name: str, default: str, *, most: float) -> float:
    text = spec.options.get(name, default)
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 <= value <= most:
        raise StocksBlitzError(
            "invalid_parameter", f"external: {name} is a number from 0 to {most:g}, not {text!r}"
        )
    return value


class ExternalFeed(Feed):
    """``external?stale=30``: a price is stale that many seconds after it came."""

    source = "external"
    writes_quotes = False

    def __init__(self, spec: FeedSpec, redis: Any, keys: Keys, archive: Archive) -> None:
        super().__init__()
        if unknown := spec.options.keys() - _OPTIONS:
            known = " and ".join(sorted(_OPTIONS))
            raise StocksBlitzError(
                "invalid_parameter", f"external knows the options {known}, not {min(unknown)!r}"
            )
        self.allowance = round(_option(spec, "stale", "30", most=1e6) * 1000)
        self.rate = _option(spec, "rate", "0", most=1)
        self.chains: dict[str, Chain] = {}
        self._chains_computed = 0.0
        self.redis, self.keys, self.archive = redis, keys, archive
        self.listings: dict[str, Listing] = {}
        self._changed: set[str] = set()
        self._unknown: set[str] = set()
        self._wake = asyncio.Event()
        self._learned = 0.0
        self._gen = 0
        self._logged_years: set[tuple[str, int]] = set()
        self._bad_prices, self._bad_updates = BadDataLog("market"), BadDataLog("price_update")

    @property
    def identity(self) -> str:
        return self.source

    async def open(self, *, intact: bool, gen: int) -> None:
        self._gen = gen
        await self._learn(now_ms())
        await self.archive.recover(list(self.listings))

    async def intake(self, stop: asyncio.Event) -> None:
        """Read the hash of each symbol that is announced."""
        bus = Subscriber(self._on_message, self._on_connect)
        await bus.start()
        try:
            await bus.subscribe(self.keys.price_updates)
            await retry_forever("prices", self._read_changed, stop, every=0, cap=0.5)
        finally:
            await bus.close()

    async def step(self, now: int) -> bool:
        if self._unknown and time.monotonic() - self._learned > LEARN_S:
            await self._learn(now)
        if time.monotonic() - self._chains_computed > CHAIN_S:
            self._compute_chains(now)
        for symbol, listing in self.listings.items():
            market = self.markets[symbol]
            market.close(listing.bars.pass_time(now - GRACE_MS))
            if market.dirty:
                self._show(market, listing)
            if market.fresh_until <= now and market.fresh_until:
                self._extend_freshness(market, listing, now)
        return False

    async def history(self, symbol: str) -> ClosedBars:
        return await self.archive.history(symbol)

    def state(self, symbols: Collection[str]) -> dict[str, bytes]:
        listings = {symbol: self.listings[symbol] for symbol in symbols}
        return {
            counted_volume_name(self.keys, symbol): orjson.dumps([listing.volume, listing.session])
            for symbol, listing in listings.items()
        }

    # --- incoming prices ----------------------------------------------------------------------------------------

    def _on_message(self, channel: str, data: bytes) -> None:
        with self._bad_updates.skip(channel):
            self._on_price_update(decode_price_update(data))

    def _on_price_update(self, symbol: str) -> None:
        if symbol in self.listings:
            self._changed.add(symbol)
            self._wake.set()
            return
        feed_rejected.labels("unknown_symbol").inc()
        if len(self._unknown) < 1_000:
            self._unknown.add(symbol)

    async def _on_connect(self) -> None:
        """Read every symbol: announcements may have been missed."""
        self._changed.update(self.listings)
        self._wake.set()

    async def _read_changed(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        symbols, self._changed = list(self._changed), set()
        try:
            pipe = self.redis.pipeline(transaction=False)
            for symbol in symbols:
                pipe.hmget(self.keys.market(symbol), TICK_FIELDS + INTEREST_FIELDS)
            answers = await each_answer(pipe)
        except Exception:  # whatever failed, these symbols must still be read
            self._changed.update(symbols)
            self._wake.set()
            raise
        now = now_ms()
        for symbol, values in zip(symbols, answers, strict=True):
            with self._bad_prices.skip(symbol):
                self._read(symbol, good(values), now)

    def _read(self, symbol: str, values: list[bytes | None], now: int) -> None:
        prices, interest = values[: len(TICK_FIELDS)], values[len(TICK_FIELDS) :]
        if (tick := decode_tick(prices, now)) is not None:
            self._take(symbol, tick, now)
        if (counted := decode_interest(interest)) is not None:
            self.listings[symbol].interest = counted

    def _take(self, symbol: str, tick: ExternalTick, now: int) -> None:
        listing, market = self.listings[symbol], self.markets[symbol]
        bars = listing.bars
        if tick.crossed:
            feed_rejected.labels("crossed").inc()
            return
        session = bars.ladder.session(tick.ts)
        self._log_uncovered_year(listing.exchange, session)
        before, refused = (listing.volume, listing.session), bars.refused.total()
        closed = bars.tick(tick.ts, tick.price, listing.added(tick, session.open))
        if bars.refused.total() > refused:
            listing.volume, listing.session = before
            feed_rejected.labels(next(reversed(bars.refused))).inc()
            return
        feed_ticks.inc()
        listing.price = tick.price
        market.close(closed)
        market.dirty = True
        market.fresh_until = self._fresh_until(listing, min(tick.ts, now))

    def _fresh_until(self, listing: Listing, ts: int) -> int:
        """Return when a price of that time gets stale: it may be older than allowed while the exchange is closed."""
        until = ts + self.allowance
        session = listing.bars.ladder.session(until)
        return until if until < session.close else session.until + self.allowance

    def _extend_freshness(self, market: SymbolState, listing: Listing, now: int) -> None:
        """Extend the freshness of an old price once its exchange has closed."""
        session = listing.bars.ladder.session(now)
        if now >= session.close:
            market.fresh_until, market.dirty = session.until + self.allowance, True

    def _compute_chains(self, now: int) -> None:
        self._chains_computed = time.monotonic()
        for symbol, *found in chain_values(self.chains, self.listings, now):
            market = self.markets[symbol]
            if found != [market.greeks, market.oi]:
                (market.greeks, market.oi), market.dirty = found, True

    def _show(self, market: SymbolState, listing: Listing) -> None:
        market.forming, market.last = listing.bars.forming(), listing.bars.ladder.last

    def _log_uncovered_year(self, exchange: str, session: TradingSession) -> None:
        year = time.gmtime(session.open / 1000).tm_year
        if not session.certain and (exchange, year) not in self._logged_years:
            self._logged_years.add((exchange, year))
            extra = {"action": "uncovered_year", "exchange": exchange, "year": year}
            log.warning("no calendar covers this year, the ordinary week stands in", extra=extra)

    # --- instruments ----------------------------------------------------------------------------------------

    async def _learn(self, now: int) -> None:
        """Add the instruments that are new in the database."""
        self._unknown, self._learned = set(), time.monotonic()
        found = await active_exchanges()
        self.chains = chains(await active_contracts(now), self.rate)
        if self.chains:
            await asyncio.to_thread(greeks.warm_up)
        for symbol in [symbol for symbol in found if symbol not in self.listings]:
            try:
                await self._take_up(symbol, found[symbol], now)
            except StocksBlitzError as error:
                log.error("%s is left out: %s", symbol, error, extra={"action": "bad_instrument"})

    async def _take_up(self, symbol: str, exchange: str, now: int) -> None:
        calendars.session_at(exchange, now)
        bars = TickBars(lambda ts: calendars.session_at(exchange, ts))
        market, listing = SymbolState(symbol, self._gen), Listing(exchange, bars)
        left = await read_left_behind(self.redis, self.keys, symbol, now)
        market.close(restore(bars, left.minutes, left.last, left.forming))
        if left.counted:
            listing.volume, listing.session = left.counted
        elif left.tick and isfinite(left.tick.volume):
            ts = left.tick.ts
            listing.volume, listing.session = left.tick.volume, bars.ladder.session(ts).open
            bars.newest = max(bars.newest, ts + 1 if bars.ladder.start(now) > ts else 0)
        self.listings[symbol], self.markets[symbol] = listing, market
        if left.last or left.forming:
            market.dirty = True
            market.fresh_until = self._fresh_until(listing, min(left.tick.ts, now) if left.tick else now)
        self._changed.add(symbol)
        self._wake.set()
