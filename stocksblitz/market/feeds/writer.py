"""The only writer of quotes and bars: one pipeline per flush, which stores closed bars before anything names them."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence, Set
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError, ResponseError

from stocksblitz.market.core.announcements import encode_bar_update
from stocksblitz.market.core.bars import Bar, Closed
from stocksblitz.market.feeds.base import Feed, SymbolState
from stocksblitz.market.store.bar_codec import encode_bar, encode_forming
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.observability.metrics import feed_flush
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import MOCK_TTL_S, Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

RENEW_MS = 60_000
"""How often the expiry of mock keys that were not written is renewed."""
_BATCH = 1_000
"""Bars in one ZADD: keeps a single command far below Redis's client buffer."""


def newest(closed: Sequence[Closed], limit: int) -> list[Closed]:
    """Return the last bars of each timeframe, as many as the hot store holds, in order."""
    left = Counter(timeframe for timeframe, _ in closed)
    kept = []
    for timeframe, bar in closed:
        if left[timeframe] <= limit:
            kept.append((timeframe, bar))
        left[timeframe] -= 1
    return kept


class MarketWriter:
    """Writes the changes of a feed's markets. While Redis is away they wait, up to a bound."""

    def __init__(self, redis: Any, keys: Keys, feed: Feed, *, mock: bool, archive: Any = None) -> None:
        self.redis, self.keys, self.feed, self.mock = redis, keys, feed, mock
        self.archive = archive
        """Saves closed bars of the real realm in the database, and trims the hot store of saved bars."""
        self.marker = keys.feed_marker
        self.lost: set[str] = set()
        """Symbols whose closed bars are no longer in Redis; `refill` is due for them."""
        self.gen = 0
        """The generation of the closed bars in Redis."""
        self.marked = False
        self._mortal: set[str] = set()
        self._renewed = 0
        self._bad_keys = BadDataLog("key")

    async def inspect(self) -> bool:
        """Return whether the hot store holds the bars of a feed of this identity; set the generation to continue with."""
        [mark] = await self._execute(self.redis.pipeline(transaction=False).get(self.marker))
        identity, _, gen = (mark or b"").rpartition(b"|")
        intact = bool(identity == self.feed.identity.encode() and gen.isdigit() and len(gen) < 16)
        self.gen = int(gen) if intact else now_ms()
        return intact

    async def mark(self) -> None:
        """Mark the hot store as complete; a flush that does not find the mark knows that the store was lost."""
        await self.redis.set(self.marker, self._mark, ex=MOCK_TTL_S if self.mock else None)
        self._mortal.add(self.marker)
        self.marked = True

    @property
    def _mark(self) -> bytes:
        return f"{self.feed.identity}|{self.gen}".encode()

    async def flush(self) -> None:
        """Write and announce the changes; after an error they are written with the next flush."""
        changed = [market for market in self.feed.markets.values() if market.dirty]
        if not changed and not self.marked:
            return
        taken = {market.symbol: market.closed for market in changed}
        for market in changed:
            market.dirty, market.closed = False, []
        try:
            with feed_flush.time():
                await self._write(changed, taken)
        except (RedisError, OSError):
            self._put_back(changed, taken)
            raise
        for market in changed:
            market.reset = False
        if self.archive is not None:
            self.archive.take(taken)
        await self._renew()

    async def refill(self, symbols: Collection[str]) -> None:
        """Write the closed bars of these symbols again after they were lost."""
        log.warning(
            "closed bars are lost, writing them again", extra={"action": "refill", "symbols": len(symbols)}
        )
        self._mortal.clear()
        for symbol in symbols:
            history = await self.feed.history(symbol)
            pipe = self.redis.pipeline(transaction=False)
            for timeframe, bars in history.items():
                self.store(pipe, symbol, timeframe, bars)
            self.feed.markets[symbol].dirty = True
            if not len(pipe) or None not in await self._execute(pipe):
                self.lost.discard(symbol)
        if not self.lost:
            await self.mark()

    def store(self, pipe: Any, symbol: str, timeframe: str, bars: Sequence[Bar]) -> None:
        """Put consecutive closed bars into the hot store, in place of any of the same time."""
        name = self.keys.bars(symbol, timeframe)
        bars = bars[-settings.HOT_BARS :]
        if not bars:
            return
        pipe.zremrangebyscore(name, bars[0].ts, bars[-1].ts)
        for start in range(0, len(bars), _BATCH):
            pipe.zadd(name, {encode_bar(bar): bar.ts for bar in bars[start : start + _BATCH]})
        if self.archive is None:
            pipe.zremrangebyrank(name, 0, -settings.HOT_BARS - 1)
        self._bury(pipe, name)

    async def _write(self, changed: list[SymbolState], taken: dict[str, list[Closed]]) -> None:
        """Write bars, then the hashes that name them, then the announcements.

        All commands are built before the first await, so that they describe one state of the feed.
        """
        now = now_ms()
        bars, quotes, news = (self.redis.pipeline(transaction=False) for _ in range(3))
        bars.get(self.marker)
        for market in changed:
            if market.reset:
                for timeframe in market.timeframes:
                    bars.delete(self.keys.bars(market.symbol, timeframe))
        self._bars(bars, taken)
        for market in changed:
            quotes.hset(name := self.keys.market(market.symbol), mapping=self._fields(market, now))
            self._bury(quotes, name)
        for name, value in self.feed.state([market.symbol for market in changed]).items():
            quotes.set(name, value, ex=MOCK_TTL_S if self.mock else None)
            self._mortal.add(name)
        if changed:
            self._announce(news, [market.symbol for market in changed], now)
        mark, *_ = await self._execute(bars, quotes, news)
        if self.marked and mark != self._mark:
            self.marked, self.lost = False, set(self.feed.markets)

    async def _execute(self, *pipes: Any) -> list[Any]:
        """Run pipelines one after the other, in one round trip; return the answers, None for a key of another type.

        Such a key costs its own symbol alone. Where it is ours it is removed, so that it can be written again.
        """
        first, *others = pipes
        for pipe in others:
            first.command_stack.extend(pipe.command_stack)
        names = [args[1] for args, _ in first.command_stack]
        answers = await each_answer(first)
        wrong = {
            name: BadData("key", str(answer), "another type")
            for name, answer in zip(names, answers, strict=True)
            if isinstance(answer, ResponseError)
        }
        self._bad_keys.record(set(names) - wrong.keys(), wrong)
        if wrong:
            await self._remove(wrong.keys())
        return [None if isinstance(answer, ResponseError) else answer for answer in answers]

    async def _remove(self, wrong: Set[str]) -> None:
        """Remove keys of another type that stand where ours belong, and the mark until they are written again."""
        ours: set[str] = set()
        for symbol, market in self.feed.markets.items():
            names = {self.keys.bars(symbol, timeframe) for timeframe in market.timeframes}
            if self.feed.writes_quotes:
                names.add(self.keys.market(symbol))
            if names & wrong:
                ours |= names & wrong
                self.lost.add(symbol)
        if ours:
            await self.redis.unlink(*ours, self.marker)
            self.marked = False

    def _bars(self, pipe: Any, taken: dict[str, list[Closed]]) -> None:
        for symbol, closed in taken.items():
            by_timeframe: dict[str, list[Bar]] = defaultdict(list)
            for timeframe, bar in closed:
                by_timeframe[timeframe].append(bar)
            for timeframe, bars in by_timeframe.items():
                self.store(pipe, symbol, timeframe, bars)

    def _fields(self, market: SymbolState, now: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "source": self.feed.source,
            "fresh_until": market.fresh_until,
            "gen": market.gen,
            "greeks": market.greeks,
            "oi": market.oi,
            "flushed": now,
        }
        for timeframe in market.timeframes:
            bar = market.forming.get(timeframe)
            fields[f"bar:{timeframe}"] = encode_forming(bar, market.last.get(timeframe, 0)) if bar else b""
        if self.feed.writes_quotes and (quote := market.quote):
            fields |= {
                "bid": quote.bid,
                "ask": quote.ask,
                "last": quote.last,
                "volume": quote.volume,
                "ts": quote.ts,
            }
        return fields

    def _announce(self, pipe: Any, symbols: list[str], now: int) -> None:
        if self.feed.writes_quotes:
            for symbol in symbols:
                pipe.publish(self.keys.price_updates, symbol)
        pipe.publish(self.keys.bar_updates, encode_bar_update(symbols, now))

    def _put_back(self, changed: Iterable[SymbolState], taken: dict[str, list[Closed]]) -> None:
        for market in changed:
            waiting = taken[market.symbol] + market.closed
            market.dirty, market.closed = True, newest(waiting, settings.HOT_BARS)
            if dropped := len(waiting) - len(market.closed):
                extra = {"action": "bars_dropped", "symbol": market.symbol, "bars": dropped}
                log.error("Redis is away for too long, the oldest closed bars are dropped", extra=extra)

    def _bury(self, pipe: Any, name: str) -> None:
        """Set the expiry of a mock key when it is written for the first time."""
        if self.mock and name not in self._mortal:
            pipe.expire(name, MOCK_TTL_S)
            self._mortal.add(name)

    async def _renew(self) -> None:
        if not self.mock or now_ms() - self._renewed < RENEW_MS:
            return
        pipe = self.redis.pipeline(transaction=False)
        for name in self._mortal:
            pipe.expire(name, MOCK_TTL_S)
        await pipe.execute()
        self._renewed = now_ms()
