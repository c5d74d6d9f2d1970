"""The quotes of one process: a cache, at most one fetch in flight for each key, and one thread that fetches.

Callers are threads and tasks of any event loop. They share the cache; after a miss they wait for the key's one
fetch, which runs in an event loop of its own, so that no caller's end or cancellation touches it.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes.cache import CachedPrice, Key, PriceCache
from stocksblitz.market.quotes.fetcher import Config, Fetcher
from stocksblitz.market.quotes.stats import QuoteCounters
from stocksblitz.market.quotes.types import Outcome, Price
from stocksblitz.server.places import waiting

log = logging.getLogger(__name__)

CACHE_SIZE = 50_000


@dataclass(slots=True)
class FetchResult:
    """How a fetch ended: with a cached price, or with the error for the caller that began it."""

    entry: CachedPrice | None = None
    outcome: Outcome = "call"
    error: StocksBlitzError | None = None


@dataclass(slots=True)
class Fetch:
    """A fetch that runs: when it began, and how many callers wait for it beside the one that began it."""

    began: float
    waiters: int = 0
    result: Future[FetchResult] = field(default_factory=Future)
    _bridges: dict[asyncio.AbstractEventLoop, asyncio.Future[FetchResult]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.result.set_running_or_notify_cancel()  # from now on no waiter's cancellation can end it

    async def wait(self) -> FetchResult:
        """Wait for the result in any event loop; all tasks of one loop are woken together."""
        if self.result.done():
            return self.result.result()
        loop = asyncio.get_running_loop()
        if loop not in self._bridges:
            self._bridges[loop] = asyncio.wrap_future(self.result)
        return await asyncio.shield(self._bridges[loop])


def _stopping() -> StocksBlitzError:
    return StocksBlitzError("unavailable", "The process is stopping. Try again.")


class QuoteService:
    """``ask`` for tasks, ``ask_sync`` for threads. ``clock`` is steady and in seconds."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._cache = PriceCache(CACHE_SIZE)
        self._fetches: dict[Key, Fetch] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._counters = {
            name: QuoteCounters(name, account.provider) for name, account in config.accounts.items()
        }
        self._loop = asyncio.new_event_loop()
        self._fetcher = Fetcher(config, self._counters, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.call_soon(self._spawn, self._maintain)
        self._thread = threading.Thread(target=self._loop.run_forever, name="quotes", daemon=True)
        self._thread.start()

    async def ask(self, account: str, symbol: str) -> Price:
        """Return the current price; StocksBlitzError when there is none."""
        key, asked = (account, symbol), self._clock()
        if price := self._cached(key, asked):
            return price
        try:
            async with asyncio.timeout(self._config.timeout):
                while True:
                    fetch, leads = self._join(key)
                    result = await fetch.wait()
                    if price := self._answer_of(key, fetch, result, leads=leads, asked=asked):
                        return price
        except TimeoutError:
            raise self._too_long(key) from None

    def ask_sync(self, account: str, symbol: str) -> Price:
        """Do the same for a thread. Never call it in a thread that runs an event loop: it blocks."""
        key, asked = (account, symbol), self._clock()
        if price := self._cached(key, asked):
            return price
        deadline = time.monotonic() + self._config.timeout
        while True:
            fetch, leads = self._join(key)
            try:
                with waiting():
                    result = fetch.result.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise self._too_long(key) from None
            if price := self._answer_of(key, fetch, result, leads=leads, asked=asked):
                return price

    def _cached(self, key: Key, now: float) -> Price | None:
        entry = self._cache.get(key, now)
        return self._answer(key, entry, "hit", now) if entry else None

    def _join(self, key: Key) -> tuple[Fetch, bool]:
        """Return the fetch to wait for, and whether this caller began it."""
        if key[0] not in self._counters:
            known = ", ".join(sorted(self._counters))
            raise StocksBlitzError(
                "not_found", f"There is no quote account {key[0][:40]!r}; there are: {known}."
            )
        with self._lock:
            if self._closed:
                raise _stopping()
            if fetch := self._fetches.get(key):
                fetch.waiters += 1
                return fetch, False
            fetch = Fetch(self._clock())
            if entry := self._cache.get(key, fetch.began):  # another fetch ended since we looked
                fetch.result.set_result(FetchResult(entry, "hit"))
                return fetch, False
            self._fetches[key] = fetch
        self._loop.call_soon_threadsafe(self._spawn, self._run_fetch, key, fetch)
        return fetch, True

    def _answer_of(
        self, key: Key, fetch: Fetch, result: FetchResult, *, leads: bool, asked: float
    ) -> Price | None:
        """Return the caller's price; None when it must try again: another caller's fetch failed or its price expired.

        A price whose fetch began after the caller asked is never too old, so that every caller gets one however
        short prices are kept.
        """
        if result.entry is None:
            if not leads or result.error is None:
                return None
            self._counters[key[0]].add("misses", "failures")
            raise result.error
        now = self._clock()
        if result.entry.fresh(now) or (result.outcome == "call" and fetch.began >= asked):
            outcome = result.outcome if leads or result.outcome == "hit" else "wait"
            return self._answer(key, result.entry, outcome, now)
        return None

    def _answer(self, key: Key, entry: CachedPrice, outcome: Outcome, now: float) -> Price:
        self._counters[key[0]].answered(outcome)
        price = entry.price(outcome, now)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "quote of %s by %s: %s, %d ms old",
                key[1],
                key[0],
                outcome,
                price.age_ms,
                extra={"action": outcome},
            )
        return price

    def _too_long(self, key: Key) -> StocksBlitzError:
        self._counters[key[0]].add("misses", "failures")
        seconds = self._config.timeout
        return StocksBlitzError(
            "unavailable", f"No price of {key[1]} within {seconds:g} s (account {key[0]}). Try again."
        )

    # What follows runs in the event loop of the service's own thread.

    def _spawn(self, work: Callable[..., Coroutine[None, None, None]], *args: object) -> None:
        task = self._loop.create_task(work(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_fetch(self, key: Key, fetch: Fetch) -> None:
        result = FetchResult(error=_stopping())
        try:
            result = FetchResult(*await self._fetcher.fetch(key, lambda: fetch.waiters))
        except StocksBlitzError as error:
            result = FetchResult(error=StocksBlitzError(error.code, error.message))
            log.info(
                "no quote: %s",
                error.message,
                extra={"action": "failure", "account": key[0], "symbol": key[1]},
            )
        except Exception:  # our own fault: who waits gets an error, and the next caller tries again
            log.exception(
                "fetching a quote broke", extra={"action": "failure", "account": key[0], "symbol": key[1]}
            )
            result = FetchResult(
                error=StocksBlitzError("unavailable", f"The price of {key[1]} cannot be fetched now.")
            )
        finally:
            self._finish(key, fetch, result)

    def _finish(self, key: Key, fetch: Fetch, result: FetchResult) -> None:
        """Keep the price and free the key before any waiter wakes."""
        with self._lock:
            del self._fetches[key]
            if result.entry and result.entry.fresh(self._clock()):
                self._cache.put(key, result.entry)
        fetch.result.set_result(result)

    async def _maintain(self) -> None:
        """Renew leases (three times before they expire), write the counters to Redis, and drop expired prices."""
        while True:
            await asyncio.sleep(self._config.lease_ms / 4000)
            with self._lock:
                self._cache.sweep(self._clock())
            with contextlib.suppress(RedisError, OSError):  # the fetches that need Redis say so themselves
                await self._fetcher.renew()
                await self._fetcher.write_counters()

    async def _close(self) -> None:
        with self._lock:
            self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # calls that no caller waits for any more
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def close(self) -> None:
        """End the thread: callers that still wait get an error, and every lease is given back."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
