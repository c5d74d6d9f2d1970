"""Where prices come from: the contract of a provider, the running feed, and any HTTP quote endpoint.

A provider of your own is a subclass of `Provider`, named in QUOTE_ACCOUNTS as ``"package.module:Class"``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote as quoted

import httpx
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from stocksblitz.market.core.market_hash import PRICE_FIELDS, MarketPrice, decode_prices
from stocksblitz.market.quotes.types import ProviderQuote, number, quote_of, time_number
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import connect, current_keys, each_answer

_bad_markets = BadDataLog("market")


class ProviderError(Exception):
    """A call that failed; the message reaches the caller, so it holds no credentials.

    ``transient``: the same call may succeed in a moment, so it is tried again.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Provider(ABC):
    """One account's client. It is made once in a process and all its methods run in one event loop."""

    leased = True
    """Calls are dear: over all processes at most one runs for a symbol, and its result is shared. False for a
    source that all processes share anyway."""
    batch = 1
    """The most symbols that one `fetch_many` takes; 1: `fetch` is called for each."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take the account's options; ImproperlyConfigured when they are wrong."""
        self.options = options

    @abstractmethod
    async def fetch(self, symbol: str) -> ProviderQuote | None:
        """One call to the source; None when it has no price. Raises ProviderError (or TimeoutError,
        OSError)."""

    async def fetch_many(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        """One call for several symbols; a symbol without a price is left out. Needed where ``batch`` > 1."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027  (many clients hold nothing)
        """Give back what the client holds."""


class FeedProvider(Provider):
    """The running feed: the hash ``market:{SYMBOL}`` in Redis. One HMGET, so neither leased nor kept
    longer."""

    leased = False
    batch = 500

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._redis = connect()

    async def fetch(self, symbol: str) -> ProviderQuote | None:
        return (await self.fetch_many([symbol])).get(symbol)

    async def fetch_many(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        names = current_keys()
        pipe = self._redis.pipeline(transaction=False)
        for symbol in symbols:
            pipe.hmget(names.market(symbol), PRICE_FIELDS)
        try:
            hashes = await each_answer(pipe)
        except RedisError as error:
            raise ProviderError(f"Redis does not answer ({type(error).__name__})", transient=True) from error
        prices, bad = decode_prices(zip(symbols, hashes, strict=True))
        _bad_markets.record(prices, bad)
        quotes = {symbol: self._quote(price) for symbol, price in prices.items()}
        return {symbol: quote for symbol, quote in quotes.items() if quote}

    @staticmethod
    def _quote(price: MarketPrice) -> ProviderQuote | None:
        return quote_of(price.last, price.bid, price.ask, ts=price.ts, fresh_until=price.fresh_until)

    async def close(self) -> None:
        await self._redis.aclose()


class HttpProvider(Provider):
    """Any quote endpoint that answers JSON.

    Options: ``url`` with ``{symbol}`` in it; ``price`` (or ``bid`` and ``ask``) and ``ts``: where in the
    answer they stand, as ``data.0.last``; ``ts_unit``: ``ms`` or ``s``; ``headers``; ``symbols``: our names
    to theirs. With ``batch_url`` (``{symbols}`` in it, joined by commas) up to ``batch`` symbols are asked
    for at once, and ``{symbol}`` may stand in the paths.
    """

    _PATHS = ("price", "bid", "ask", "ts")
    _KNOWN = frozenset({"url", "batch_url", "batch", "headers", "symbols", "ts_unit", *_PATHS})

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._check(options)
        self._url, self._batch_url = options["url"], options.get("batch_url")
        self._paths = {name: str(options.get(name, "")) for name in self._PATHS}
        self._theirs: Mapping[str, str] = options.get("symbols", {})
        self._ts_factor = 1000 if options.get("ts_unit") == "s" else 1
        self.batch = int(options.get("batch", 50)) if self._batch_url else 1
        self._client = httpx.AsyncClient(headers=dict(options.get("headers", {})), timeout=None)

    def _check(self, options: Mapping[str, Any]) -> None:
        if unknown := options.keys() - self._KNOWN:
            raise ImproperlyConfigured(
                f"http provider: unknown option {min(unknown)!r}; there are {sorted(self._KNOWN)}"
            )
        if "{symbol}" not in str(options.get("url", "")):
            raise ImproperlyConfigured('http provider: "url" is needed, with {symbol} in it')
        if "{symbols}" not in str(options.get("batch_url", "{symbols}")):
            raise ImproperlyConfigured('http provider: "batch_url" has {symbols} in it')
        if "price" not in options and not {"bid", "ask"} <= options.keys():
            raise ImproperlyConfigured('http provider: the path "price" is needed, or "bid" and "ask"')

    async def fetch(self, symbol: str) -> ProviderQuote | None:
        document = await self._get(self._url.replace("{symbol}", self._their(symbol)))
        return self._read(document, symbol)

    async def fetch_many(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        theirs = ",".join(self._their(symbol) for symbol in symbols)
        document = await self._get(str(self._batch_url).replace("{symbols}", theirs))
        quotes = {symbol: self._read(document, symbol) for symbol in symbols}
        return {symbol: quote for symbol, quote in quotes.items() if quote}

    def _their(self, symbol: str) -> str:
        return quoted(self._theirs.get(symbol, symbol), safe="")

    def _read(self, document: Any, symbol: str) -> ProviderQuote | None:
        their = self._theirs.get(symbol, symbol)
        price, bid, ask, ts = (dig(document, path.split("."), their) for path in self._paths.values())
        stamp = number(ts)
        ms = None if stamp is None else time_number(stamp * self._ts_factor)
        return quote_of(price, bid, ask, ts=ms)

    async def _get(self, url: str) -> Any:
        """The answer's JSON, or None where the symbol is not known there. No error names the URL: it may hold
        a key."""
        try:
            answer = await self._client.get(url)
        except httpx.TransportError as error:
            raise ProviderError(
                f"the endpoint cannot be reached ({type(error).__name__})", transient=True
            ) from None
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            busy = answer.status_code == 429 or answer.status_code >= 500
            raise ProviderError(f"the endpoint answered {answer.status_code}", transient=busy)
        try:
            return answer.json()
        except ValueError:
            raise ProviderError("the endpoint did not answer JSON") from None

    async def close(self) -> None:
        await self._client.aclose()


def dig(document: Any, path: Sequence[str], symbol: str) -> Any:
    """Follow names and list positions into a JSON document; ``{symbol}`` is the symbol. None where it leads
    nowhere."""
    for step in path:
        if isinstance(document, Mapping):
            document = document.get(step.replace("{symbol}", symbol))
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


BUILT_IN: Mapping[str, type[Provider]] = {"feed": FeedProvider, "http": HttpProvider}


def provider_class(name: str) -> type[Provider]:
    """A built-in one, or ``package.module:Class``; ImproperlyConfigured when there is no such."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    try:
        found = import_string(name.replace(":", "."))
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise ImproperlyConfigured(f"quote provider is feed, http or package.module:Class, not {name!r}")
    return found
