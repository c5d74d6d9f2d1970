"""Fetches prices for one process: the accounts' lines to their providers, with the lease over all processes
beneath."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis.exceptions import RedisError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.market.quotes.batching import Batcher
from stocksblitz.market.quotes.cache import CachedPrice, Key
from stocksblitz.market.quotes.config import ProviderAccount
from stocksblitz.market.quotes.leases import LEASE_MS, FetchLeases
from stocksblitz.market.quotes.provider_client import ProviderClient
from stocksblitz.market.quotes.providers import provider_class
from stocksblitz.market.quotes.rate_limit import CallQueue
from stocksblitz.market.quotes.stats import QuoteCounters, write_counters
from stocksblitz.market.quotes.types import Outcome, ProviderQuote
from stocksblitz.redis.client import connect
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

_PIPELINE = 500


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a process's quotes. Times are in seconds where their names say nothing else."""

    accounts: Mapping[str, ProviderAccount]
    keys: Keys
    ttl: float
    stretch: int
    timeout: float
    lease_ms: int = LEASE_MS


class Fetcher:
    """Fetches prices from providers, once over all processes. It runs in one event loop; ``clock`` counts seconds."""

    def __init__(
        self, config: Config, counters: Mapping[str, QuoteCounters], clock: Callable[[], float]
    ) -> None:
        self._config, self._counters, self._clock = config, counters, clock
        self._redis = connect()
        self._scripts: Batcher[tuple[str, list[str], list[Any]], Any] = Batcher(self._send, _PIPELINE)
        self._clients: dict[str, ProviderClient] = {}

    async def fetch(self, key: Key, waiting: Callable[[], int]) -> tuple[CachedPrice, Outcome]:
        """Return a new price, or one that another process has just fetched.

        ``waiting`` returns how many callers wait for it in this process.
        Raises StocksBlitzError: not_found, unknown_symbol, unavailable, rate_limited.
        """
        client = self._client_of(*key)
        if not client.provider.leased:
            return self._entry(client, await client.fetch(key[1]), self._config.ttl), "call"
        try:
            shared, waited = await self._leases.acquire(key)
        except (RedisError, OSError) as error:
            raise StocksBlitzError(
                "unavailable", "Redis does not answer, so no price can be fetched. Try again."
            ) from error
        if shared:
            entry = self._entry(
                client, shared.quote, shared.left_ms / 1000, (shared.ttl_ms - shared.left_ms) / 1000
            )
            return entry, "wait" if waited else "hit"
        return await self._call(client, key, waiting), "call"

    async def _call(self, client: ProviderClient, key: Key, waiting: Callable[[], int]) -> CachedPrice:
        """Fetch while we hold the lease, and give it back however the fetch ends."""
        try:
            quote = await client.fetch(key[1])
        except BaseException:
            await self._give_back(key, None, 0)
            raise
        return self._entry(client, quote, await self._give_back(key, quote, waiting()) / 1000)

    async def _give_back(self, key: Key, quote: ProviderQuote | None, waiting: int) -> int:
        """Give the lease back; return for how many ms the price counts.

        Without Redis the price counts in this process all the same, and the lease expires.
        """
        ttl_ms = round(self._config.ttl * 1000)
        most_ms = ttl_ms * self._config.stretch
        try:
            ttl = await self._leases.release(key, quote, ttl_ms=ttl_ms, most_ms=most_ms, waiting=waiting)
        except (RedisError, OSError) as error:
            log.warning("a quote's lease is not given back: %s", error, extra={"action": "trouble"})
            return ttl_ms
        if ttl > ttl_ms:
            self._counters[key[0]].add("stretched")
        return ttl

    def _entry(
        self, client: ProviderClient, quote: ProviderQuote, ttl: float, age: float = 0.0
    ) -> CachedPrice:
        now = self._clock()
        if quote.ts is None:
            quote = quote._replace(ts=now_ms())
        return CachedPrice(quote, client.account.provider, now - age, now + ttl)

    def _client_of(self, name: str, symbol: str) -> ProviderClient:
        """Return the account's only client; it is made when it is first needed."""
        if not is_symbol(symbol):
            raise StocksBlitzError(
                "unknown_symbol", f"A symbol looks like EURUSD or M&M, not {symbol[:40]!r}."
            )
        if name not in self._clients:
            account = self._config.accounts[name]
            limit = None
            if account.rate:
                limit = CallQueue(
                    self._run, self._config.keys.name("quotes", "rate", name), account.rate, account.burst
                )
            provider = provider_class(account.provider)(account.options)
            self._clients[name] = ProviderClient(account, provider, limit, self._counters[name])
        return self._clients[name]

    @cached_property
    def _leases(self) -> FetchLeases:
        return FetchLeases(self._redis, self._config.keys, self._run, lease_ms=self._config.lease_ms)

    async def _run(self, script: str, names: list[str], args: list[Any]) -> Any:
        return await self._scripts.ask((script, names, args))

    async def _send(self, calls: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for script, names, args in calls:
            pipe.eval(script, len(names), *names, *args)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    async def renew(self) -> None:
        """Renew the leases of the fetches that run."""
        if "_leases" in self.__dict__:
            await self._leases.renew()

    async def write_counters(self) -> None:
        """Add what was counted in this process to the sums in Redis."""
        await write_counters(self._redis, self._config.keys, list(self._counters.values()))

    async def close(self) -> None:
        """Give back leases and connections, and write the last counts."""
        try:
            if "_leases" in self.__dict__:
                await self._leases.close()
            await self.write_counters()
        except (RedisError, OSError) as error:
            log.warning("quotes end without Redis: %s", error, extra={"action": "trouble"})
        for client in self._clients.values():
            await client.provider.close()
        await self._redis.aclose()
