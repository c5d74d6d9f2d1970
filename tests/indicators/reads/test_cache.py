import asyncio
import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from indicators.engine.spec import parse_request
from indicators.reads import cache
from indicators.reads.job_queue import JobQueue
from indicators.reads.pending_jobs import flights
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability import metrics
from stocksblitz.redis.client import connect
from stocksblitz.workers.runtime import now_ms
from tests.conftest import PATIENCE_S, aeventually, eventually, takes_less

MINUTE = 60_000
NOW = 1_763_635_200_000


class Worker:
    """A compute worker that counts; it runs on an event loop in a thread of its own."""

    def __init__(self, keys, name="w1", seconds=0.0, fail=None):
        self.keys, self.name, self.seconds, self.fail = keys, name, seconds, fail
        self.computed = []
        self.stopped = threading.Event()
        self.began = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self._thread.join(PATIENCE_S)

    def kill(self):
        """As kill -9: what it was doing is never finished, and it says nothing more."""
        self.stopped.set()
        self._thread.join(PATIENCE_S)

    async def _main(self):
        redis = connect()
        serving = asyncio.create_task(JobQueue(redis, self.keys).serve(self._compute, asyncio.Event()))
        while not self.stopped.is_set():
            await redis.zadd(self.keys.workers("compute"), {self.name: now_ms()})
            await asyncio.sleep(0.02)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        with contextlib.suppress(Exception):
            await redis.aclose()

    async def _compute(self, job):
        self.computed.append(job)
        self.began.set()
        await asyncio.sleep(self.seconds)
        if self.fail:
            raise self.fail
        if job.kind == "history":
            return list(range(job.limit))
        return {"ts": NOW, "value": 42.5, "timeframe": job.timeframe, "ready": True}


def ask(*ids, symbol="BTCUSD", timeframe="1min", user=1):
    return cache.current_sync(symbol, timeframe, parse_request(list(ids)), user_id=user)


def forming(redis, keys, ts=NOW, symbol="BTCUSD"):
    bar = orjson.dumps([ts, 1, 1, 1, 1, 1, 0, ts - MINUTE])
    redis.hset(keys.market(symbol), mapping={"bar:1min": bar, "fresh_until": 10**14, "gen": "7"})


def store(redis, keys, indicator, ts=NOW, value=1.5):
    entry = {"ts": ts, "value": value, "timeframe": "1min", "ready": True}
    redis.set(keys.latest("BTCUSD", "1min", indicator), orjson.dumps(entry), px=60_000)


def test_a_cached_value_is_a_hit_under_the_id_asked(redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14")
    answer = ask("RSI_14_100")
    assert answer.outcome == "hit"
    assert answer.stale is False
    assert answer.values == {"RSI_14_100": {"ts": NOW, "value": 1.5, "timeframe": "1min", "ready": True}}


def test_a_live_streams_frame_is_newer_than_the_last_close(redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14", ts=NOW - MINUTE)
    frame = {"indicators": {"RSI_14": {"ts": NOW, "value": 9.0, "timeframe": "1min", "ready": True}}}
    redis.set(keys.stream("BTCUSD", "1min", "frame"), orjson.dumps(frame))
    # Nobody subscribes: what is left of a frame is only old.
    assert ask("RSI_14").values["RSI_14"]["value"] == 1.5
    redis.sadd(keys.wanted, "BTCUSD|1min|RSI_14")
    assert ask("RSI_14").values["RSI_14"]["value"] == 9.0


def test_the_outcome_of_a_request_is_its_worst(redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14")
    with Worker(keys) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        assert ask("RSI_14", "EMA_9").outcome == "miss"
        assert ask("RSI_14", "EMA_9").outcome == "hit"
    assert [job.indicator for job in worker.computed] == ["EMA_9"]
    assert 0 < redis.pttl(keys.latest("BTCUSD", "1min", "EMA_9")) <= 2 * MINUTE


@pytest.mark.parametrize("ts", [NOW - 10 * MINUTE, NOW + 500 * MINUTE], ids=["old", "of another loop"])
def test_a_value_of_another_time_is_computed_again(redis, keys, ts):
    forming(redis, keys)
    store(redis, keys, "RSI_14", ts=ts)
    with Worker(keys) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        assert ask("RSI_14").values["RSI_14"]["value"] == 42.5
    assert len(worker.computed) == 1


def test_many_at_once_are_one_computation(redis, keys):
    forming(redis, keys)
    with Worker(keys, seconds=0.2) as worker, ThreadPoolExecutor(100) as pool:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        answers = list(pool.map(lambda _: ask("RSI_14"), range(300)))
    assert len(worker.computed) == 1
    assert {answer.values["RSI_14"]["value"] for answer in answers} == {42.5}
    assert [a.outcome for a in answers].count("miss") == 1


def test_a_value_that_came_while_its_caller_looked_is_a_hit(redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14", value=7.5)
    ((future, outcome),) = flights().ask([cache.current_job("BTCUSD", "1min", "RSI_14", 1)])
    assert (future.result(1)["value"], outcome) == (7.5, "hit")


def test_what_another_process_began_is_waited_for(redis, keys):
    forming(redis, keys)
    redis.set(keys.lock("BTCUSD", "1min", "RSI_14"), "another process", px=60_000)
    ((future, outcome),) = flights().ask([cache.current_job("BTCUSD", "1min", "RSI_14", 1)])
    assert (future.done(), outcome) == (False, "wait")


def test_without_a_worker_the_answer_is_unavailable_within_two_seconds(redis, keys):
    def refusal():
        began = time.monotonic()
        with pytest.raises(StocksBlitzError) as refused:
            ask("RSI_14")
        assert refused.value.code == "unavailable"
        return time.monotonic() - began

    takes_less(2, refusal)
    assert not redis.exists(keys.jobs("queue"), keys.jobs("data"))


def test_a_failure_reaches_all_and_is_not_cached(redis, keys):
    forming(redis, keys)
    failure = StocksBlitzError("invalid_parameter", "no bars for that")
    with Worker(keys, seconds=0.1, fail=failure) as worker, ThreadPoolExecutor(20) as pool:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        waiting = [pool.submit(ask, "RSI_14") for _ in range(20)]
        errors = [future.exception(PATIENCE_S) for future in waiting]
        assert {(e.code, e.message) for e in errors} == {("invalid_parameter", "no bars for that")}
        assert len(worker.computed) == 1
        worker.fail = None
        assert ask("RSI_14").values["RSI_14"]["value"] == 42.5
    assert not redis.exists(keys.lock("BTCUSD", "1min", "RSI_14"))


def test_an_unforeseen_failure_is_unavailable(redis, keys):
    with Worker(keys, fail=ZeroDivisionError("1/0")):
        eventually(lambda: redis.zcard(keys.workers("compute")))
        with pytest.raises(StocksBlitzError) as refused:
            ask("RSI_14")
    assert refused.value.code == "unavailable"


def test_a_dead_workers_job_is_done_by_another(redis, keys):
    forming(redis, keys)
    lengths = itertools.count(14)

    def takeover():
        indicator = f"RSI_{next(lengths)}"
        dying = Worker(keys, name=f"dying {indicator}", seconds=60)
        with ThreadPoolExecutor(10) as pool, dying:
            eventually(lambda: redis.zscore(keys.workers("compute"), dying.name))
            began = time.monotonic()
            waiting = [pool.submit(ask, indicator) for _ in range(10)]
            assert dying.began.wait(PATIENCE_S)
            with Worker(keys, name=f"heir {indicator}") as heir:
                dying.kill()
                answers = [future.result(PATIENCE_S) for future in waiting]
            took = time.monotonic() - began
        assert {a.values[indicator]["value"] for a in answers} == {42.5}
        assert len(dying.computed) == len(heir.computed) == 1
        assert not redis.exists(keys.jobs("queue"), keys.jobs("data"), keys.jobs("taken"), keys.jobs("tries"))
        return took

    takes_less(6, takeover)


def test_exactly_one_reader_follows_one_that_died(redis, keys):
    """Its lock is left behind, without a job."""
    forming(redis, keys)
    redis.set(keys.lock("BTCUSD", "1min", "RSI_14"), "somebody who died", px=700)
    with Worker(keys) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        assert ask("RSI_14").values["RSI_14"]["value"] == 42.5
    assert len(worker.computed) == 1


def test_a_slow_computation_keeps_its_lock(redis, keys, settings, monkeypatch):
    monkeypatch.setattr("indicators.reads.job_queue.LOCK_MS", 1_200)
    monkeypatch.setattr("indicators.reads.pending_jobs.LOCK_MS", 1_200)
    with Worker(keys, name="slow", seconds=3.0) as slow, Worker(keys, name="idle", seconds=3.0) as idle:
        eventually(lambda: redis.zcard(keys.workers("compute")) == 2)
        assert ask("RSI_14").values["RSI_14"]["value"] == 42.5
    assert len(slow.computed) + len(idle.computed) == 1


def test_a_job_whose_place_was_taken_is_not_computed(redis, keys):
    job = cache.current_job("BTCUSD", "1min", "RSI_14", 1)
    redis.hset(keys.jobs("data"), job.token, job.encode())
    redis.zadd(keys.jobs("queue"), {job.token: 1})
    redis.set(job.locked_at(keys), "a newer asker", px=60_000)
    with Worker(keys) as worker:
        eventually(lambda: not redis.exists(keys.jobs("queue"), keys.jobs("data")))
    assert worker.computed == []


def test_a_job_that_kills_its_workers_is_given_up(redis, keys, monkeypatch):
    monkeypatch.setattr("indicators.reads.job_queue.DEAD_MS", 50)
    monkeypatch.setattr("indicators.reads.job_queue.RENEW_S", 0.05)
    monkeypatch.setattr("indicators.reads.job_queue.TRIES", 2)
    with ThreadPoolExecutor(1) as pool:
        redis.zadd(keys.workers("compute"), {"always": 10**14})
        waiting = pool.submit(ask, "RSI_14")
        for name in ("a", "b", "c", "d"):
            with Worker(keys, name=name, seconds=60) as worker:
                eventually(lambda worker=worker: worker.began.is_set() or waiting.done())
                worker.kill()
        with pytest.raises(StocksBlitzError):
            waiting.result(PATIENCE_S)


def misses(indicator):
    labels = {"symbol": "BTCUSD", "timeframe": "1min", "indicator": indicator}
    return metrics.REGISTRY.get_sample_value("indicator_cache_misses_total", labels) or 0


async def test_a_cancelled_reader_takes_nothing_from_the_others(redis, keys):
    bars(redis, keys, 20)
    before = misses("RSI_14")
    with Worker(keys, seconds=0.5) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        first = asyncio.create_task(cache.history("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5))
        assert await asyncio.to_thread(worker.began.wait, PATIENCE_S)
        second = asyncio.create_task(cache.history("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5))
        await aeventually(lambda: misses("RSI_14") == before + 2)
        first.cancel()
        answer = await second
    assert answer["indicators"]["RSI_14"] == [0, 1, 2, 3, 4]
    assert answer["cache"] == "wait"
    assert len(worker.computed) == 1


def bars(redis, keys, count, timeframe="1min"):
    for i in range(count):
        ts = NOW - (count - i) * MINUTE
        redis.zadd(keys.bars("BTCUSD", timeframe), {orjson.dumps([ts, 1.0, 2.0, 0.5, 1.5, i, 0]): ts})


def test_history_is_computed_once_per_closed_bar(redis, keys):
    forming(redis, keys)
    bars(redis, keys, 20)
    with Worker(keys) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        one = cache.history_sync("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5)
        two = cache.history_sync("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5)
        assert (one["cache"], two["cache"]) == ("miss", "hit")
        assert one["indicators"] == two["indicators"] == {"RSI_14": [0, 1, 2, 3, 4]}
        assert [bar[0] for bar in one["bars"]] == [NOW - (5 - i) * MINUTE for i in range(5)]
        assert one["complete"] is True
        assert len(worker.computed) == 1
        older = cache.history_sync("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5, before=NOW - 18 * MINUTE)
        assert len(older["bars"]) == 2
        assert older["complete"] is False
        redis.zadd(keys.bars("BTCUSD", "1min"), {orjson.dumps([NOW, 1.0, 2.0, 0.5, 1.5, 9, 0]): NOW})
        assert cache.history_sync("BTCUSD", "1min", ["RSI_14"], user_id=1, limit=5)["cache"] == "miss"


async def test_history_of_bars_alone_needs_no_worker(redis, keys):
    bars(redis, keys, 3)
    answer = await cache.history("BTCUSD", "1min", [], user_id=1, limit=2)
    assert len(answer["bars"]) == 2
    assert answer["bars"][0][1:] == [1.0, 2.0, 0.5, 1.5, 1]
