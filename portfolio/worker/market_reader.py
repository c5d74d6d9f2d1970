"""Prices from Redis into the book's columns."""

from collections.abc import Iterable
from typing import Any

from portfolio.services.prices import bad_prices, tick_of
from portfolio.valuation.book import Book
from stocksblitz.market.core.market_hash import PRICE_FIELDS, decode_prices
from stocksblitz.redis.client import each_answer
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms


class MarketReader:
    """Reads the market hashes of the symbols that the book needs."""

    def __init__(self, redis: Any, names: Keys, book: Book) -> None:
        self._redis = redis
        self._names = names
        self._book = book

    def needed(self) -> set[str]:
        """Return every symbol that an account holds or that currencies are converted over."""
        return {name for name in self._book.prices.names if name} | self._book.currencies.graph.symbols

    def is_needed(self, symbol: str) -> bool:
        """Return whether an account holds the symbol or currencies are converted over it."""
        return symbol in self._book.prices.index or symbol in self._book.currencies.graph

    def expiring(self) -> list[str]:
        """Return the symbols that are fresh in the book and past their time by the clock."""
        return self._book.prices.expiring(now_ms())

    async def read(self, symbols: Iterable[str]) -> list[str]:
        """Take in the current prices of these symbols; return those that changed anything.

        A symbol whose hash is bad has no price.
        """
        wanted = list(symbols)
        pipe = self._redis.pipeline(transaction=False)
        for symbol in wanted:
            pipe.hmget(self._names.market(symbol), PRICE_FIELDS)
        answers = await each_answer(pipe) if wanted else []
        prices, bad = decode_prices(zip(wanted, answers, strict=True))
        bad_prices.record(prices, bad)
        ticks = {symbol: tick_of(prices[symbol]) if symbol in prices else None for symbol in wanted}
        return self._book.tick(ticks, now_ms())
