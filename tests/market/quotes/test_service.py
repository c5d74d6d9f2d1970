"""One call however many ask: threads, tasks, failure, expiry, accounts, and nothing left behind."""

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes import current_price
from stocksblitz.market.quotes.current_price import (
    get_instrument_current_price,
    get_instrument_current_price_sync,
)
from stocksblitz.market.quotes.providers import ProviderError
from tests.conftest import aeventually, atakes_less, eventually, takes_less
from tests.market.quotes.providers import Batching, Counting, Scripted

COUNTING, SCRIPTED, BATCHING = (
    f"tests.market.quotes.providers:{c.__name__}" for c in (Counting, Scripted, Batching)
)


@pytest.fixture
def slow(settings, namespace):
    """Two accounts whose provider takes 200 ms."""
    account = {"provider": COUNTING, "name": namespace, "seconds": 0.2}
    settings.QUOTE_ACCOUNTS = {"one": account, "two": {**account, "name": f"{namespace}2"}}
    yield namespace
    current_price.reset()


@pytest.fixture
def scripted(settings):
    settings.QUOTE_ACCOUNTS = {
        "s": {"provider": SCRIPTED, "attempts": 1},
        "retrying": {"provider": SCRIPTED, "attempts": 3, "breaker_seconds": 0.05},
        "resting": {"provider": SCRIPTED, "breaker_seconds": 60},
        "batch": {"provider": BATCHING},
        "limited": {"provider": SCRIPTED, "rate": 20},
    }
    Scripted.script, Scripted.calls, Scripted.made, Scripted.seconds = [], [], 0, 0.0
    Batching.batches = []
    Scripted.gate.set()
    yield Scripted
    Scripted.gate.set()
    current_price.reset()


async def asked(*calls):
    """These calls as tasks, each of which waits for its price by now."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


def calls(redis, name):
    return {symbol.decode(): int(n) for symbol, n in redis.hgetall(f"{name}:calls").items()}


def all_at_once(count, work):
    """Run ``work(i)`` in so many threads that start together; the results and when each ended."""
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        result = work(i)
        return result, time.time()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_ten_threads_make_one_call_and_wake_within_two_milliseconds(slow, redis):
    get_instrument_current_price_sync("one", "WARM")  # connections are not what is measured

    def spread():
        symbol = f"A{time.monotonic_ns()}"
        ended = all_at_once(10, lambda _: get_instrument_current_price_sync("one", symbol))
        assert calls(redis, slow)[symbol] == 1
        assert {price.price for price, _ in ended} == {101.0}
        assert sorted(price.outcome for price, _ in ended) == ["call"] + ["wait"] * 9
        times = sorted(at for _, at in ended)
        return times[-1] - times[0]

    takes_less(0.002, spread)


async def test_tasks_and_threads_share_one_call(slow, redis):
    thread = asyncio.to_thread(get_instrument_current_price_sync, "one", "ACME")
    tasks = [get_instrument_current_price("one", "ACME") for _ in range(20)]
    prices = await asyncio.gather(thread, *tasks)
    assert calls(redis, slow) == {"ACME": 1}
    assert {price.price for price in prices} == {101.0}
    assert sorted(price.outcome for price in prices) == ["call"] + ["wait"] * 20


async def test_ten_widgets_of_five_symbols_take_one_calls_time(slow, redis):
    await get_instrument_current_price("one", "WARM")
    rounds = itertools.count()

    async def took():
        symbols = [f"R{next(rounds)}S{i}" for i in range(5)]
        began = time.monotonic()
        await asyncio.gather(*(get_instrument_current_price("one", s) for _ in range(10) for s in symbols))
        ended = time.monotonic()
        assert {s: n for s, n in calls(redis, slow).items() if s in symbols} == dict.fromkeys(symbols, 1)
        return ended - began

    await atakes_less(0.3, took)


async def test_two_accounts_do_not_wait_for_each_other(slow, redis):
    rounds = itertools.count()

    async def took():
        symbol = f"A{next(rounds)}"
        began = time.monotonic()
        prices = await asyncio.gather(
            *(get_instrument_current_price(each, symbol) for each in ("one", "two"))
        )
        ended = time.monotonic()
        assert [price.outcome for price in prices] == ["call", "call"]
        assert calls(redis, slow)[symbol] == calls(redis, f"{slow}2")[symbol] == 1
        return ended - began

    await atakes_less(0.35, took)


async def test_a_hit_is_kept_for_the_cache_time_and_no_longer(slow, settings, redis):
    settings.PRICE_CACHE_TIME = 60
    first = await get_instrument_current_price("one", "ACME")
    again = await get_instrument_current_price("one", "ACME")
    assert (first.outcome, again.outcome) == ("call", "hit")
    assert again.age_ms < 60_000
    assert again.ttl_ms == 60_000
    current_price.reset()
    settings.PRICE_CACHE_TIME = 0.3
    assert (await get_instrument_current_price("one", "BRIEF")).ttl_ms == 300
    await asyncio.sleep(0.31)
    assert (await get_instrument_current_price("one", "BRIEF")).outcome == "call"
    assert calls(redis, slow) == {"ACME": 1, "BRIEF": 2}


async def test_a_waiter_that_finds_the_price_expired_fetches_again(slow, settings, redis):
    settings.PRICE_CACHE_TIME = 0.0
    first = asyncio.ensure_future(get_instrument_current_price("one", "ACME"))
    await aeventually(lambda: calls(redis, slow).get("ACME"))
    late = [asyncio.ensure_future(get_instrument_current_price("one", "ACME")) for _ in range(5)]
    prices = await asyncio.gather(first, *late)
    assert prices[0].price == 101.0
    assert {price.price for price in prices[1:]} == {102.0}, (
        "one call made after they asked is new enough for all"
    )
    assert calls(redis, slow) == {"ACME": 2}


@pytest.mark.parametrize("failure", [None, RuntimeError("secret=1"), ProviderError("the broker is closed")])
async def test_a_failure_is_told_to_one_never_kept_and_the_next_waiter_tries(scripted, failure):
    scripted.script = [failure, 7.0]
    scripted.gate.clear()
    tasks = await asked(*(get_instrument_current_price("s", "ACME") for _ in range(4)))
    scripted.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [each for each in results if isinstance(each, StocksBlitzError)]
    assert len(errors) == 1
    assert errors[0].code == "unavailable"
    assert errors[0].retryable
    assert "secret" not in errors[0].message
    assert {each.price for each in results if not isinstance(each, Exception)} == {7.0}
    assert len(scripted.calls) == 2


async def test_a_cancelled_caller_leaves_the_fetch_to_the_others(scripted):
    scripted.gate.clear()
    leader, waiter, stays = await asked(*(get_instrument_current_price("s", "ACME") for _ in range(3)))
    await aeventually(lambda: scripted.calls)
    leader.cancel()
    waiter.cancel()
    scripted.gate.set()
    assert (await stays).price == 1.0
    assert leader.cancelled()
    assert waiter.cancelled()
    assert len(scripted.calls) == 1


async def test_what_a_cancelled_caller_asked_for_is_there_for_the_next(scripted, settings):
    settings.PRICE_CACHE_TIME = 60
    scripted.gate.clear()
    (task,) = await asked(get_instrument_current_price("s", "ACME"))
    await aeventually(lambda: scripted.calls)
    task.cancel()
    (late,) = await asked(get_instrument_current_price("s", "ACME"))
    scripted.gate.set()
    assert (await late).outcome == "wait"
    assert (await get_instrument_current_price("s", "ACME")).outcome == "hit"


async def test_transient_failures_are_tried_again_with_the_same_call(scripted):
    scripted.script = [ProviderError("busy", transient=True), OSError("reset"), 5.0]
    price = await get_instrument_current_price("retrying", "ACME")
    assert (price.price, price.outcome, len(scripted.calls)) == (5.0, "call", 3)


async def test_the_breaker_leaves_a_failing_provider_in_peace_and_then_tries_it(scripted):
    for account in ("resting", "retrying"):
        scripted.calls.clear()
        scripted.script += [ProviderError("down")] * 5
        for i in range(5):
            with pytest.raises(StocksBlitzError, match="down"):
                await get_instrument_current_price(account, f"A{i}")
        assert len(scripted.calls) == 5
    with pytest.raises(StocksBlitzError, match="in peace") as raised:
        await get_instrument_current_price("resting", "ACME")
    assert raised.value.retryable
    assert len(scripted.calls) == 5

    async def recovered():
        try:
            return await get_instrument_current_price("retrying", "ACME")
        except StocksBlitzError:
            return None

    assert (await aeventually(recovered)).price == 1.0


async def test_a_provider_that_never_answers_is_an_error_in_time(scripted, settings):
    settings.QUOTE_TIMEOUT = 0.2
    scripted.seconds = 60
    with pytest.raises(StocksBlitzError, match=r"within 0\.2 s"):
        await get_instrument_current_price("s", "ACME")
    with pytest.raises(StocksBlitzError, match=r"within 0\.2 s"):
        await asyncio.to_thread(get_instrument_current_price_sync, "s", "ACME")


async def test_an_attempt_is_timed_out(scripted, settings):
    settings.QUOTE_ACCOUNTS = {"s": {"provider": SCRIPTED, "attempts": 1, "timeout": 0.05}}
    scripted.seconds = 60
    with pytest.raises(StocksBlitzError, match=r"not answer within 0\.05 s"):
        await get_instrument_current_price("s", "ACME")


async def test_one_client_for_an_account_however_many_ask(scripted):
    await asyncio.gather(*(get_instrument_current_price("s", f"A{i}") for i in range(50)))
    assert scripted.made == 1


async def test_symbols_asked_for_together_go_out_in_one_call(scripted):
    scripted.gate.clear()
    symbols = [*("X" * n for n in range(1, 11)), "MISSING"]
    tasks = await asked(*(get_instrument_current_price("batch", symbol) for symbol in symbols))
    scripted.gate.set()
    prices = await asyncio.gather(*tasks, return_exceptions=True)
    assert [price.price for price in prices[:10]] == [float(n) for n in range(1, 11)]
    assert isinstance(prices[10], StocksBlitzError)
    assert sum(len(each) for each in Batching.batches) + len(Batching.calls) == 11
    assert len(Batching.batches) + len(Batching.calls) <= 3


async def test_the_rate_limit_queues(scripted):
    rounds = itertools.count()

    async def took():
        symbols = [f"R{next(rounds)}S{i}" for i in range(5)]
        began = time.monotonic()
        prices = await asyncio.gather(*(get_instrument_current_price("limited", each) for each in symbols))
        ended = time.monotonic()
        assert [price.price for price in prices] == [1.0] * 5
        assert ended - began >= 0.2, "five calls at 20 a second: the last after 200 ms"
        return ended - began

    await atakes_less(0.5, took)


async def test_many_waiters_make_a_price_count_longer_up_to_the_bound(scripted, settings):
    settings.PRICE_CACHE_TIME, settings.PRICE_CACHE_STRETCH = 0.5, 3
    alone = await get_instrument_current_price("s", "ALONE")
    scripted.gate.clear()
    some = await asked(*(get_instrument_current_price("s", "SOME") for _ in range(7)))
    many = await asked(*(get_instrument_current_price("s", "MANY") for _ in range(60)))
    scripted.gate.set()
    assert alone.ttl_ms == 500
    assert {price.ttl_ms for price in await asyncio.gather(*some)} == {1000}
    assert {price.ttl_ms for price in await asyncio.gather(*many)} == {1500}


async def test_ten_thousand_symbols_asked_once_leave_nothing_behind(scripted, settings, redis, namespace):
    settings.PRICE_CACHE_TIME = 0.5
    threads = threading.active_count()
    for start in range(0, 10_000, 1000):
        await asyncio.gather(
            *(get_instrument_current_price("s", f"N{i}") for i in range(start, start + 1000))
        )
    service = current_price.quote_service()
    await aeventually(
        lambda: len(service._cache) == 0 and not service._fetches, what="caches and fetches are empty"
    )

    def left():
        return [key for key in redis.scan_iter(f"{namespace}*", count=5000) if b"stats" not in key]

    await aeventually(lambda: not left(), what="nothing in Redis but the statistics")
    assert threading.active_count() < threads + 20


async def test_what_cannot_be_asked_for_says_so(scripted):
    with pytest.raises(StocksBlitzError, match=r"there are: .*feed") as raised:
        await get_instrument_current_price("nobody", "ACME")
    assert raised.value.code == "not_found"
    with pytest.raises(StocksBlitzError) as raised:
        await get_instrument_current_price("s", "../etc")
    assert raised.value.code == "unknown_symbol"
    assert not scripted.calls


def test_a_desk_that_closes_frees_who_waits_and_its_lease(scripted, redis, namespace):
    scripted.seconds = 60
    with ThreadPoolExecutor(2) as pool:
        asks = [pool.submit(get_instrument_current_price_sync, "s", "ACME") for _ in range(2)]
        eventually(lambda: list(redis.scan_iter(f"{namespace}*lease")) and scripted.calls)
        current_price.reset()
        for ask in asks:
            with pytest.raises(StocksBlitzError, match="stopping"):
                ask.result(30)
    assert not list(redis.scan_iter(f"{namespace}*lease"))
