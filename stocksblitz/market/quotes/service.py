"""The quotes of one process: a cache, at most one fetch in flight for each key, and one thread that fetches.

Callers are threads and tasks of any event loop. They share the cache; a miss boards the key's *flight*, which
lives in an event loop of its own, so that no caller's end or cancellation touches it.
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
    """How a flight ended: with an entry, or with the error for whoever began it."""

    entry: CachedPrice | None = None
    outcome: Outcome = "call"
    error: StocksBlitzError | None = None


@dataclass(slots=True)
class Fetch:
    """A fetch that runs: when it was asked for, and how many others wait for it."""

    began: float
    waiters: int = 0
    landing: Future[FetchResult] = field(default_factory=Future)
    _bridges: dict[asyncio.AbstractEventLoop, asyncio.Future[FetchResult]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.landing.set_running_or_notify_cancel()  # from now on no waiter's cancellation can end it

    async def landed(self) -> FetchResult:
        """Wait for the landing in any event loop; all tasks of one are woken together."""
        if self.landing.done():
            return self.landing.result()
        loop = asyncio.get_running_loop()
        if loop not in self._bridges:
            self._bridges[loop] = asyncio.wrap_future(self.landing)
        return await asyncio.shield(self._bridges[loop])


def _stopping() -> StocksBlitzError:
    return StocksBlitzError("unavailable", "The process is stopping. Try again.")


class QuoteService:
    """``ask`` for tasks, ``ask_sync`` for threads. ``clock`` is steady and in seconds."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._cache = PriceCache(CACHE_SIZE)
        self._flights: dict[Key, Fetch] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._tallies = {
            name: QuoteCounters(name, account.provider) for name, account in config.accounts.items()
        }
        self._loop = asyncio.new_event_loop()
        self._fetcher = Fetcher(config, self._tallies, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.call_soon(self._spawn, self._tend)
        self._thread = threading.Thread(target=self._loop.run_forever, name="quotes", daemon=True)
        self._thread.start()

    async def ask(self, account: str, symbol: str) -> Price:
        """The current price. StocksBlitzError when there is none."""
        key, asked = (account, symbol), self._clock()
        if price := self._kept(key, asked):
            return price
        try:
            async with asyncio.timeout(self._config.timeout):
                while True:
                    flight, leads = self._board(key)
                    landing = await flight.landed()
                    if price := self._settle(key, flight, landing, leads=leads, asked=asked):
                        return price
        except TimeoutError:
            raise self._too_long(key) from None

    def ask_sync(self, account: str, symbol: str) -> Price:
        """The same for a thread. Never call it in a thread that runs an event loop: it waits."""
        key, asked = (account, symbol), self._clock()
        if price := self._kept(key, asked):
            return price
        deadline = time.monotonic() + self._config.timeout
        while True:
            flight, leads = self._board(key)
            try:
                with waiting():
                    landing = flight.landing.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise self._too_long(key) from None
            if price := self._settle(key, flight, landing, leads=leads, asked=asked):
                return price

    def _kept(self, key: Key, now: float) -> Price | None:
        entry = self._cache.get(key, now)
        return self._tell(key, entry, "hit", now) if entry else None

    def _board(self, key: Key) -> tuple[Fetch, bool]:
        """The flight to wait for, and whether the caller is the one it was begun for."""
        if key[0] not in self._tallies:
            known = ", ".join(sorted(self._tallies))
            raise StocksBlitzError(
                "not_found", f"There is no quote account {key[0][:40]!r}; there are: {known}."
            )
        with self._lock:
            if self._closed:
                raise _stopping()
            if flight := self._flights.get(key):
                flight.waiters += 1
                return flight, False
            flight = Fetch(self._clock())
            if entry := self._cache.get(key, flight.began):  # one has landed since we looked
                flight.landing.set_result(FetchResult(entry, "hit"))
                return flight, False
            self._flights[key] = flight
        self._loop.call_soon_threadsafe(self._spawn, self._fly, key, flight)
        return flight, True

    def _settle(
        self, key: Key, flight: Fetch, landing: FetchResult, *, leads: bool, asked: float
    ) -> Price | None:
        """The caller's answer, or None: try again, for the fetch of somebody else failed or its price is too
        old by now.

        A call that began after the caller asked is never too old, so that nobody starves however short prices
        are kept.
        """
        if landing.entry is None:
            if not leads or landing.error is None:
                return None
            self._tallies[key[0]].add("misses", "failures")
            raise landing.error
        now = self._clock()
        if landing.entry.fresh(now) or (landing.outcome == "call" and flight.began >= asked):
            outcome = landing.outcome if leads or landing.outcome == "hit" else "wait"
            return self._tell(key, landing.entry, outcome, now)
        return None

    def _tell(self, key: Key, entry: CachedPrice, outcome: Outcome, now: float) -> Price:
        self._tallies[key[0]].answered(outcome)
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
        self._tallies[key[0]].add("misses", "failures")
        seconds = self._config.timeout
        return StocksBlitzError(
            "unavailable", f"No price of {key[1]} within {seconds:g} s (account {key[0]}). Try again."
        )

    # What follows runs in the loop of the desk's own thread.

    def _spawn(self, work: Callable[..., Coroutine[None, None, None]], *args: object) -> None:
        task = self._loop.create_task(work(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, key: Key, flight: Fetch) -> None:
        landing = FetchResult(error=_stopping())
        try:
            landing = FetchResult(*await self._fetcher.fetch(key, lambda: flight.waiters))
        except StocksBlitzError as error:
            landing = FetchResult(error=StocksBlitzError(error.code, error.message))
            log.info(
                "no quote: %s",
                error.message,
                extra={"action": "failure", "account": key[0], "symbol": key[1]},
            )
        except Exception:  # a fault of ours: those who wait get an error, and the next one tries again
            log.exception(
                "fetching a quote broke", extra={"action": "failure", "account": key[0], "symbol": key[1]}
            )
            landing = FetchResult(
                error=StocksBlitzError("unavailable", f"The price of {key[1]} cannot be fetched now.")
            )
        finally:
            self._land(key, flight, landing)

    def _land(self, key: Key, flight: Fetch, landing: FetchResult) -> None:
        """Keep what was fetched and let go of the key, before anybody wakes."""
        with self._lock:
            del self._flights[key]
            if landing.entry and landing.entry.fresh(self._clock()):
                self._cache.put(key, landing.entry)
        flight.landing.set_result(landing)

    async def _tend(self) -> None:
        """Renew leases (three times before they run out), carry statistics away, drop what has expired."""
        while True:
            await asyncio.sleep(self._config.lease_ms / 4000)
            with self._lock:
                self._cache.sweep(self._clock())
            with contextlib.suppress(RedisError, OSError):  # the fetches that need Redis say so themselves
                await self._fetcher.renew()
                await self._fetcher.carry()

    async def _close(self) -> None:
        with self._lock:
            self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # calls that nobody waits for any more
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def close(self) -> None:
        """End the thread; who still waits is told that the process stops, and no lease stays behind."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
