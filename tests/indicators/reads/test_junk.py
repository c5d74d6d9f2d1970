"""Junk in the keys and channels of one-shot reads costs only itself: the value is computed again, and reads go on."""

import pytest

from indicators.reads import cache
from indicators.reads.pending_jobs import flights
from stocksblitz.redis.single_flight import WAIT
from tests.conftest import PATIENCE_S, eventually
from tests.indicators.reads.test_cache import Worker, ask, forming

JUNK = [
    b"", b"junk", b"\xff\xfe\x80", b"null", b"5", b"[1,2]", b"{}",
    b'{"ts":"x","value":1,"timeframe":"1min","ready":true}',
    b'{"ts":NaN,"value":NaN}', b'{"ts":1e999,"value":1}', b"[" * 3000, b'{"key":1}', b'{"key":"x","value":{}}',
    b'{"key":["x"],"error":1}', b'{"key":"current|BTCUSD|1min|RSI_14","value":{}}',
]  # fmt: skip


@pytest.fixture
def worker(redis, keys):
    with Worker(keys) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        yield worker


@pytest.mark.parametrize("is_formed", [True, False], ids=["with a forming bar", "without"])
@pytest.mark.parametrize("junk", [*JUNK, "list", "hash"], ids=lambda junk: str(junk[:20]))
def test_a_spoilt_newest_value_is_computed_again(redis, keys, worker, junk, is_formed):
    name = keys.latest("BTCUSD", "1min", "RSI_14")
    if is_formed:
        forming(redis, keys)
    match junk:
        case "list":
            redis.rpush(name, "junk")
        case "hash":
            redis.hset(name, "junk", "junk")
        case _:
            redis.set(name, junk)
    assert ask("RSI_14").values["RSI_14"]["value"] == 42.5
    assert len(worker.computed) == 1


def test_junk_among_the_results_ends_no_wait(redis, keys):
    with Worker(keys, seconds=0.5) as worker:
        eventually(lambda: redis.zcard(keys.workers("compute")))
        ((future, _),) = flights().ask([cache.current_job("BTCUSD", "1min", "RSI_14", 1)])
        for junk in JUNK:
            redis.publish(keys.results, junk)
        assert future.result(PATIENCE_S)["value"] == 42.5
        assert ask("EMA_9").values["EMA_9"]["value"] == 42.5
    assert len(worker.computed) == 2


@pytest.mark.parametrize("kind", ["string", "list"])
def test_a_lock_that_nobody_renews_is_taken_over(redis, keys, worker, kind):
    """One without a time to live, or of another type, is nobody's."""
    name = keys.lock("BTCUSD", "1min", "RSI_14")
    redis.set(name, "junk") if kind == "string" else redis.rpush(name, "junk")
    ((future, outcome),) = flights().ask([cache.current_job("BTCUSD", "1min", "RSI_14", 1)])
    assert (outcome == WAIT) == (kind == "string")
    assert future.result(PATIENCE_S)["value"] == 42.5
