"""One account's access to its provider: with its rate limit, time-outs, retries and circuit breaker."""

import asyncio
from collections.abc import Mapping, Sequence

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes.batching import Batcher
from stocksblitz.market.quotes.config import ProviderAccount
from stocksblitz.market.quotes.providers import Provider, ProviderError
from stocksblitz.market.quotes.rate_limit import CallQueue
from stocksblitz.market.quotes.stats import QuoteCounters
from stocksblitz.market.quotes.types import ProviderQuote

RETRY_WAIT = wait_random_exponential(multiplier=0.1, max=1.0)


def _transient(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | OSError) or (isinstance(error, ProviderError) and error.transient)


class ProviderClient:
    """Fetches prices from the provider of one account; every failure becomes a StocksBlitzError."""

    def __init__(
        self, account: ProviderAccount, provider: Provider, limit: CallQueue | None, counters: QuoteCounters
    ) -> None:
        self.account, self.provider, self._limit, self._counters = account, provider, limit, counters
        self._breakers = AsyncCircuitBreakerFactory(
            account.breaker_failures, account.breaker_seconds, exclude=[StocksBlitzError]
        )
        self._batcher: Batcher[str, ProviderQuote | None] = Batcher(self._fetch, provider.batch)

    async def fetch(self, symbol: str) -> ProviderQuote:
        """Return a new price; StocksBlitzError unavailable when the provider fails or has none."""
        quote = await self._batcher.ask(symbol)
        if quote is None:
            raise StocksBlitzError(
                "unavailable",
                f"{self._who} has no price of {symbol} now. Check the symbol, or try again later.",
            )
        return quote

    @property
    def _who(self) -> str:
        return f"Quote account {self.account.name} ({self.account.provider})"

    async def _fetch(self, symbols: Sequence[str]) -> list[ProviderQuote | None]:
        try:
            quotes = await self._fetch_with_retries(symbols)
        except StocksBlitzError:
            raise
        except OpenedState as opened:
            opened.__traceback__ = None  # the library raises one instance again and again: it must not grow
            reason = (
                f"failed {self.account.breaker_failures} times in a row and is left in peace for a moment"
            )
        except TimeoutError:
            reason = f"did not answer within {self.account.timeout:g} s"
        except ProviderError as error:
            reason = f"failed: {error}"
        except Exception as error:  # of an adapter; its text may hold credentials
            reason = f"failed with {type(error).__name__}"
        else:
            return [quotes.get(symbol) for symbol in symbols]
        raise StocksBlitzError("unavailable", f"{self._who} {reason}. Try again later.")

    async def _fetch_with_retries(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self.account.attempts),
            wait=RETRY_WAIT,
            retry=retry_if_exception(_transient),
            reraise=True,
        )
        return await attempts(self._attempt, symbols)

    async def _attempt(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        breaker = await self._breakers.get_breaker(self.account.name)
        breaker.context.handle_new_request()  # raises while it is open: nobody queues for nothing
        if self._limit:
            await self._limit.wait()
        async with breaker:
            self._counters.add("api_calls")
            async with asyncio.timeout(self.account.timeout):
                return await self._call(symbols)

    async def _call(self, symbols: Sequence[str]) -> Mapping[str, ProviderQuote]:
        if self.provider.batch > 1 and len(symbols) > 1:
            return await self.provider.fetch_many(symbols)
        quote = await self.provider.fetch(symbols[0])
        return {symbols[0]: quote} if quote else {}
