"""One call over several processes, and one that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stocksblitz.market.quotes import stats
from tests.conftest import eventually, takes_less

pytestmark = pytest.mark.process

ACCOUNT = {"provider": "tests.market.quotes.providers:Counting", "seconds": 0.2}


class Asker:
    """One such process."""

    def __init__(self, namespace: str, **options: object) -> None:
        accounts = json.dumps({"acc": {**ACCOUNT, "name": namespace, **options}})
        command = [sys.executable, "-m", "tests.market.quotes.process", namespace, "acc", accounts]
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "stocksblitz.settings", "LOG_LEVEL": "ERROR"}
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=env)

    def ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, symbol: str) -> None:
        self.process.stdin.write(f"{symbol}\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def askers(namespace):
    """Ten processes that have each asked once, so that no connection has to be made."""
    made = [Asker(namespace) for _ in range(10)]
    for each in made:
        each.ready()
    for each in made:
        each.ask("WARM")
    for each in made:
        each.answer()
    yield made
    for each in made:
        each.close()


def test_ten_processes_make_one_call_wake_within_ten_milliseconds_and_count_together(
    askers, namespace, redis, keys
):
    gaps = []

    def gap():
        symbol = f"A{len(gaps)}"
        for each in askers:
            each.ask(symbol)
        answers = [each.answer() for each in askers]
        assert int(redis.hget(f"{namespace}:calls", symbol)) == 1
        assert {each["price"] for each in answers} == {101.0}
        outcomes = [each["outcome"] for each in answers]
        assert outcomes.count("call") == 1
        assert set(outcomes) <= {"call", "wait", "hit"}, (
            "a hit: one that the system let run only after the others"
        )
        first = next(each["answered"] for each in answers if each["outcome"] == "call")
        gaps.append(max(each["answered"] for each in answers) - first)
        return gaps[-1]

    takes_less(0.010, gap)
    assert int(redis.hget(f"{namespace}:calls", "WARM")) == 1

    for each in askers:
        each.ask("WARM")
        assert each.answer()["outcome"] == "hit"
        each.close()  # the last counts are left at the end
    counts = stats.read(redis, keys)["acc", ACCOUNT["provider"]]
    calls = 1 + len(gaps)
    assert counts["hits"] + counts["misses"] == 10 * (calls + 1)
    assert counts["misses"] == calls + counts["waits"]
    assert (counts["api_calls"], counts["failures"]) == (calls, 0)


def test_exactly_one_takes_over_when_the_process_that_fetches_dies(namespace, redis):
    takes_less(4, lambda: takeover(namespace, redis))


def takeover(namespace, redis):
    """The time from a fetching process's death until all who waited for it have their price."""
    redis.delete(*redis.scan_iter(f"{namespace}*"), "nothing")
    holder, *others = [Asker(namespace, seconds=1.0) for _ in range(4)]
    for each in (holder, *others):
        each.ready()
    holder.ask("ACME")
    eventually(lambda: redis.hget(f"{namespace}:calls", "ACME"))
    for each in others:
        each.ask("ACME")
    eventually(lambda: [k for k in redis.scan_iter(f"{namespace}*waiters") if redis.scard(k) == 3])
    os.kill(holder.process.pid, signal.SIGKILL)
    redis.hset(f"{namespace}:running", "ACME", 0)  # its call died with it
    killed = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(Asker.answer, others))
    took = time.monotonic() - killed
    assert {each["price"] for each in answers} == {102.0}
    assert sorted(each["outcome"] for each in answers) == ["call", "wait", "wait"]
    assert int(redis.hget(f"{namespace}:calls", "ACME")) == 2
    assert not redis.exists(f"{namespace}:overlap")
    assert not list(redis.scan_iter(f"{namespace}*lease"))
    for each in others:
        each.close()
    holder.process.wait(5)
    holder.process.stdin.close()
    holder.process.stdout.close()
    return took


def test_a_stopped_process_cannot_overwrite_what_its_successor_fetched(namespace, redis):
    frozen, other = Asker(namespace, seconds=0.5), Asker(namespace, seconds=0.5)
    frozen.ready()
    other.ready()
    frozen.ask("ACME")
    eventually(lambda: redis.hget(f"{namespace}:calls", "ACME"))
    os.kill(frozen.process.pid, signal.SIGSTOP)
    other.ask("ACME")
    assert other.answer()["price"] == 102.0
    os.kill(frozen.process.pid, signal.SIGCONT)
    assert frozen.answer()["price"] == 101.0, "whoever asked there is told what was fetched"
    late = Asker(namespace)
    late.ready()
    late.ask("ACME")
    answer = late.answer()
    assert (answer["price"], answer["outcome"]) == (102.0, "hit")
    for each in (frozen, other, late):
        each.close()
