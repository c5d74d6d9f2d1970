"""Any order of asks, answers, failures, expiry, cancellations and crashes over several processes.

A "process" is a service: it has its own cache, fetches, event loop, Redis connections and leases, and shares only Redis
with the others. A crash stops its loop dead, so that nothing of it runs any more.
"""

import asyncio
import itertools
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import redis as redis_py
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes.config import ProviderAccount
from stocksblitz.market.quotes.fetcher import Config
from stocksblitz.market.quotes.providers import Provider, ProviderError
from stocksblitz.market.quotes.service import FetchResult, QuoteService
from stocksblitz.market.quotes.types import ProviderQuote
from stocksblitz.redis.keys import Keys
from tests.conftest import eventually

TTL = 1000.0
PROCESSES = st.integers(0, 1)
KEYS = st.sampled_from([("a", "X"), ("a", "X"), ("b", "X"), ("a", "Y")])


@dataclass(eq=False)
class Call:
    """A call to the provider that has not been answered."""

    key: tuple[str, str]
    process: int
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future


@dataclass
class World:
    """What the providers of all processes see."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: list[Call] = field(default_factory=list)
    overlaps: list[tuple[str, str]] = field(default_factory=list)

    def begin(self, call: Call) -> None:
        with self.lock:
            if any(each.key == call.key for each in self.calls):
                self.overlaps.append(call.key)
            self.calls.append(call)

    def end(self, call: Call) -> None:
        with self.lock:
            self.calls.remove(call)


class Held(Provider):
    """Answers when the machine says so."""

    world: World

    async def fetch(self, symbol: str) -> ProviderQuote | None:
        loop = asyncio.get_running_loop()
        key = (self.options["account"], symbol)
        call = Call(key, self.options["process"], loop, loop.create_future())
        self.world.begin(call)
        return await call.answer


@dataclass(eq=False)
class Ask:
    """Somebody who waits for a price. ``epoch``: how often everything had expired when they asked."""

    key: tuple[str, str]
    process: int
    epoch: int
    future: Future


class Quotes(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.world = Held.world = World()
        self.names = Keys(f"t{uuid.uuid4().hex[:10]}:")
        self.redis = redis_py.Redis.from_url(settings.REDIS_URL)
        self.ahead, self.epoch, self.failed, self.errors = 0.0, 0, 0, 0
        self.numbers = itertools.count(1)
        self.good: dict[tuple[str, str], dict[float, int]] = {}
        self.asks: list[Ask] = []
        self.dead: list[QuoteService] = []
        self.threads = ThreadPoolExecutor(32)
        self.loop = asyncio.new_event_loop()
        self.loop_thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.loop_thread.start()
        self.services = [self._service(i) for i in range(2)]

    def _service(self, process: int) -> QuoteService:
        provider = f"{__name__}:Held"
        accounts = {
            name: ProviderAccount(
                name,
                provider,
                {"process": process, "account": name},
                timeout=60,
                attempts=1,
                breaker_failures=999,
            )
            for name in "ab"
        }
        config = Config(accounts, self.names, ttl=TTL, stretch=1, timeout=60, lease_ms=10_000)
        return QuoteService(config, clock=lambda: time.monotonic() + self.ahead)

    @rule(process=PROCESSES, key=KEYS, thread=st.booleans())
    def ask(self, process: int, key: tuple[str, str], thread: bool) -> None:
        service = self.services[process]
        if thread:
            future = self.threads.submit(service.ask_sync, *key)
        else:
            future = asyncio.run_coroutine_threadsafe(service.ask(*key), self.loop)
        self.asks.append(Ask(key, process, self.epoch, future))
        self._calm()

    @precondition(lambda self: self.world.calls)
    @rule(which=st.integers(0, 99), outcome=st.sampled_from(["price", "price", "empty", "failure"]))
    def answer(self, which: int, outcome: str) -> None:
        call = self.world.calls[which % len(self.world.calls)]
        result: object = None
        if outcome == "price":
            price = float(next(self.numbers))
            self.good.setdefault(call.key, {})[price] = self.epoch
            result = ProviderQuote(price)
        else:
            self.failed += 1
        self.world.end(call)
        if outcome == "failure":
            call.loop.call_soon_threadsafe(call.answer.set_exception, ProviderError("down"))
        else:
            call.loop.call_soon_threadsafe(call.answer.set_result, result)
        self._calm()

    @rule()
    def expire(self) -> None:
        """What the passing of TTL does, in every process and in Redis."""
        self._calm()
        self.ahead += TTL + 1
        self.epoch += 1
        if names := list(self.redis.scan_iter(f"{self.names.prefix}*:price")):
            self.redis.delete(*names)

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        tasks = [ask for ask in self.asks if not ask.future.running() and not ask.future.done()]
        if tasks:
            ask = tasks[which % len(tasks)]
            if ask.future.cancel():
                self.asks.remove(ask)
        self._calm()

    @rule(process=PROCESSES)
    def crash(self, process: int) -> None:
        """Nothing of the process runs any more; its leases run out, which this need not wait for."""
        service = self.services[process]
        service._loop.call_soon_threadsafe(service._loop.stop)
        service._thread.join(5)
        for call in [each for each in self.world.calls if each.process == process]:
            self.world.end(call)
        for ask in [each for each in self.asks if each.process == process]:
            self.asks.remove(ask)
        for name in self._left("lease"):
            me = service._fetcher._leases._me if "_leases" in service._fetcher.__dict__ else "-"
            if str(self.redis.get(name)).startswith(f"b'{me}"):
                self.redis.delete(name)
        service._closed = True  # so that its threads end with it
        for fetch in service._fetches.values():
            # The teardown lets the dead loop end its tasks, which then set a result of their own.
            killed, fetch.result = fetch.result, Future()
            killed.set_result(FetchResult(error=StocksBlitzError("unavailable", "killed")))
        self.dead.append(service)  # a killed process cleans nothing up, so neither may the garbage collector
        self.services[process] = self._service(process)
        self._calm()

    def _left(self, part: str) -> list[bytes]:
        return list(self.redis.scan_iter(f"{self.names.prefix}*:{part}"))

    def _calm(self) -> None:
        """Wait until whoever still waits, and every fetch that nobody waits for any more, waits for a call."""

        def calm() -> bool:
            under_way = {call.key for call in list(self.world.calls)}
            running = {key for service in self.services for key in list(service._fetches)}
            return running <= under_way and all(
                ask.future.done() or ask.key in under_way for ask in self.asks
            )

        eventually(calm, what="every ask is answered or waits for a call")
        for ask in [each for each in self.asks if each.future.done()]:
            self.asks.remove(ask)
            self._check(ask)

    def _check(self, ask: Ask) -> None:
        error = ask.future.exception()
        if error:
            self.errors += 1
            assert isinstance(error, StocksBlitzError)
            assert error.code == "unavailable"
            assert self.errors <= self.failed, "a failed call is told to one asker"
        else:
            price = ask.future.result()
            assert self.good[ask.key][price.price] >= ask.epoch, (
                "nobody is told what had expired when they asked"
            )

    @invariant()
    def never_two_calls_for_one_key(self) -> None:
        assert not getattr(self, "world", World()).overlaps

    @invariant()
    def nothing_is_cached_that_was_not_fetched(self) -> None:
        for service in getattr(self, "services", []):
            for key, entry in list(service._cache._entries.items()):
                assert entry.quote.price in self.good[key]

    def teardown(self) -> None:
        if not hasattr(self, "services"):
            return
        while self.asks or self.world.calls:
            if self.world.calls:
                self.answer(0, "price")
            else:
                self._calm()
        eventually(lambda: not any(service._fetches for service in self.services), what="no fetch is left")
        for name in (
            *self._left("lease"),
            *self._left("waiters"),
        ):  # of the dead; the time that it takes passes now
            assert self.redis.pttl(name) != -1, "no lock is for ever"
            self.redis.pexpire(name, 1)
        eventually(lambda: not self._left("lease") and not self._left("waiters"), what="no lock is left")
        assert not self.world.overlaps
        for service in self.dead:  # only now, and only to be tidy
            service._thread = threading.Thread(target=service._loop.run_forever, daemon=True)
            service._thread.start()
        for service in self.services + self.dead:
            service.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.loop_thread.join()
        self.loop.close()
        self.threads.shutdown()
        self.redis.close()


Quotes.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQuotes = Quotes.TestCase
