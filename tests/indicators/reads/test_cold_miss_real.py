"""One computation for a thousand callers, with real compute processes that are also killed with -9."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter

import orjson
import psutil
import pytest

from indicators.engine.spec import parse
from indicators.engine.stream import Stream
from stocksblitz.market.core.bars import Bar
from stocksblitz.observability import aggregation
from stocksblitz.workers.runtime import now_ms
from tests.conftest import eventually, takes_less
from tests.indicators.reads.test_cold_miss import (  # noqa: F401  (fixtures among them)
    CALLERS,
    all_ask,
    ports,
    start,
    token_of,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process, pytest.mark.timeout(300)]

MINUTE = 60_000
T0 = 1_760_000_040_000


@pytest.fixture
def bars(redis, keys):
    """Three thousand bars of BTCUSD, closed and left by a feed."""
    found = []
    for n in range(3_000):
        close = 100.0 + n * 7919 % 101 / 10
        found.append(Bar(T0 + n * MINUTE, close - 1, close + 2, close - 3, close, 5.0 + n % 3, T0))
    redis.zadd(keys.bars("BTCUSD", "1min"), {orjson.dumps(list(each)): each.ts for each in found})
    fields = {"source": "simulated", "gen": "1", "fresh_until": now_ms() + 600_000}
    redis.hset(keys.market("BTCUSD"), mapping=fields)
    return found


@pytest.fixture
def compute(start, redis, keys):
    """Starts compute workers; returns their processes once all of them are there."""

    def run(count):
        found = [start("django", "compute_indicators") for _ in range(count)]

        def there():
            alive = redis.zrange(keys.workers("compute"), 0, -1)
            return all(any(b"-%d-" % each.pid in name for name in alive) for each in found)

        eventually(there, 180, "the workers are there")
        return found

    return run


def value_of(bars, indicator):
    stream = Stream(bars)
    stream.set_indicators([parse(indicator)])
    return stream.last_values()[indicator][0]


def counted(indicator):
    """How often it was computed, as the metrics of all processes say."""
    line = f'indicator_computations_total{{indicator="{indicator}",symbol="BTCUSD",timeframe="1min"}}'
    found = [each.split()[-1] for each in aggregation.render().splitlines() if each.startswith(line)]
    return float(found[0]) if found else 0.0


def check(answers, expected):
    assert Counter(status for status, *_ in answers) == {200: CALLERS}, answers[:3]
    values = {value for _, _, value in answers}
    assert len(values) == 1
    assert values.pop() == pytest.approx(expected, rel=1e-9)


def test_a_thousand_callers_cost_one_computation(ports, compute, alice, bars):
    token = token_of(alice)
    workers = compute(2)
    answers = asyncio.run(all_ask(ports, token))
    check(answers, value_of(bars, "RSI_14"))
    assert Counter(outcome for _, outcome, _ in answers)["miss"] <= len(ports)
    for worker in workers:  # a worker that ends tells all that it has counted
        worker.terminate()
        worker.wait(60)
    assert counted("RSI_14") == 1


def test_a_worker_killed_in_the_middle_costs_one_more_at_most_and_six_seconds(
    ports,
    compute,
    alice,
    bars,
    redis,
    keys,
):
    """Caught between taking the job and answering it, killed, and its job taken over by another."""
    token = token_of(alice)
    lengths = itertools.count(20)
    workers = {process.pid: process for process in compute(2)}
    tried = []

    def taken():
        return redis.zcard(keys.jobs("taken"))

    def stopped(pid, number):
        os.kill(pid, number)
        wanted = psutil.STATUS_STOPPED
        eventually(lambda: (psutil.Process(pid).status() == wanted) == (number == signal.SIGSTOP), 10)

    def catch(indicator, dead):
        """Kill who has the job, unless it was faster than we are; the other worker goes on when that is done."""
        heir, dying = sorted(workers)[:2]
        stopped(heir, signal.SIGSTOP)
        try:
            while not taken():
                if redis.exists(keys.latest("BTCUSD", "1min", indicator)):
                    return
            stopped(dying, signal.SIGSTOP)
            if taken():
                workers.pop(dying).kill()
                dead.append(time.monotonic())
            else:
                stopped(dying, signal.SIGCONT)
        finally:
            stopped(heir, signal.SIGCONT)

    def attempt(indicator):
        """Seconds from the kill to the last answer; None where nobody was caught."""
        dead = []
        answers = asyncio.run(all_ask(ports, token, lambda: catch(indicator, dead), indicator))
        took = time.monotonic() - dead[0] if dead else None
        check(answers, value_of(bars, indicator))
        tried.append(indicator)
        return took

    def takeover():
        while (took := attempt(f"RSI_{next(lengths)}")) is None:
            pass
        workers.update({process.pid: process for process in compute(1)})
        return took

    takes_less(6, takeover)
    for worker in workers.values():
        worker.terminate()
        worker.wait(60)
    assert all(counted(each) <= 2 for each in tried)
    assert counted(tried[-1]) >= 1
