"""Measure quotes: a cache hit beside a locked dict look-up and a Redis GET, and many requests to a slow provider."""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import harness
from bench.report import Report

HITS, GETS, ROUNDS = 100_000, 5_000, 5
TASKS, SYMBOLS, SLOW_S = 1_000, 100, 0.05
THREADS, THREAD_ROUNDS = 10, 20


def run(report: Report) -> None:
    """Run the measurements in a separate process and report them."""
    with harness.rig(PRICE_CACHE_TIME="60", LOG_LEVEL="ERROR") as rig:
        command = [sys.executable, "-m", "bench.benchmarks.quotes"]
        env = {**rig.env, "DJANGO_SETTINGS_MODULE": "stocksblitz.settings"}
        done = subprocess.run(command, env=env, cwd=harness.ROOT, stdout=subprocess.PIPE, check=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    for kind in ("async", "sync"):
        hit, get = found[f"{kind} hit"], found[f"{kind} GET"]
        report(f"quotes: {kind} hit (vs dict and lock)", hit, "µs", baseline=found["dict and lock"])
        report(f"quotes: {kind} hit (vs one Redis GET)", hit, "µs", baseline=get, target="< 1")
    report("quotes: 1,000 tasks on 100 symbols, provider 50 ms", found["herd ms"], "ms", target="< 120")
    report("quotes: calls of that herd", found["herd calls"], "calls", target="<= 100")
    report("quotes: 9 threads after the first", found["threads ms"], "ms", target="< 2")


def median_us(work: Callable[[], float], times: int) -> float:
    """Return the median over several rounds of the microseconds per call; one round makes ``times`` calls."""
    return statistics.median(work() / times for _ in range(ROUNDS)) * 1e6


def timed(step: Callable[[], Any], times: int) -> float:
    """Call the step ``times`` times and return the seconds that it took."""
    began = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - began


def threads_ms(ask: Callable[[str], Any]) -> float:
    """Return the median time in ms between the first and the last of ten threads that get the same price."""
    gaps = []
    with ThreadPoolExecutor(THREADS) as pool:
        for at in range(THREAD_ROUNDS):
            barrier = threading.Barrier(THREADS)

            def one(_: int, symbol: str = f"T{at}", barrier: threading.Barrier = barrier) -> float:
                barrier.wait()
                ask(symbol)
                return time.perf_counter()

            ended = list(pool.map(one, range(THREADS)))
            gaps.append(max(ended) - min(ended))
    return statistics.median(gaps) * 1000


async def asyncs(ask: Callable[[str], Any], get: Callable[[], Any]) -> tuple[float, float, float]:
    """Return the medians of a cache hit (µs), a Redis GET (µs) and a thousand simultaneous requests (ms)."""

    async def repeated(step: Callable[[], Any], times: int) -> float:
        rounds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(times):
                await step()
            rounds.append((time.perf_counter() - began) / times)
        return statistics.median(rounds) * 1e6

    async def herd(round_: int) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(ask(f"H{round_}.{task % SYMBOLS}") for task in range(TASKS)))
        return (time.perf_counter() - began) * 1000

    herds = [await herd(round_) for round_ in range(ROUNDS)]
    return await repeated(lambda: ask("HIT"), HITS), await repeated(get, GETS), statistics.median(herds)


def measure() -> dict[str, float]:
    """Run all measurements; the settings of this process point to the rig's Redis."""
    import django

    django.setup()
    from django.conf import settings

    from stocksblitz.market.quotes import current_price
    from stocksblitz.market.quotes.providers import Provider
    from stocksblitz.market.quotes.types import ProviderQuote
    from stocksblitz.redis.client import connect, sync_client

    calls: list[str] = []

    class Slow(Provider):
        """Provider that takes 50 ms for each quote."""

        async def fetch(self, symbol: str) -> ProviderQuote:
            calls.append(symbol)
            await asyncio.sleep(SLOW_S)
            return ProviderQuote(1.0)

    globals()["Slow"] = Slow
    settings.QUOTE_ACCOUNTS = {"slow": {"provider": f"{__name__}:Slow"}}

    def ask(symbol: str) -> object:
        return current_price.get_instrument_current_price_sync("slow", symbol)

    ask("HIT")
    client, prices, lock = sync_client(), {("slow", "HIT"): 1.0}, threading.Lock()
    client.set("bench", b"1.0")

    def look_up() -> float:
        with lock:
            return prices["slow", "HIT"]

    async def all_async() -> tuple[float, float, float]:
        aclient = connect()
        try:
            await aclient.get("bench")
            return await asyncs(
                lambda symbol: current_price.get_instrument_current_price("slow", symbol),
                lambda: aclient.get("bench"),
            )
        finally:
            await aclient.aclose()

    gc.collect()
    gc.freeze()  # garbage collection of Django's own objects would disturb the measurement
    hit, get, herd = asyncio.run(all_async())
    return {
        "dict and lock": median_us(lambda: timed(look_up, HITS), HITS),
        "sync hit": median_us(lambda: timed(lambda: ask("HIT"), HITS), HITS),
        "sync GET": median_us(lambda: timed(lambda: client.get("bench"), GETS), GETS),
        "async hit": hit,
        "async GET": get,
        "herd ms": herd,
        "herd calls": sum(symbol.startswith("H0.") for symbol in calls),
        "threads ms": threads_ms(ask),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
