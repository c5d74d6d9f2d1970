"""Jobs are computed once however many workers there are, users take turns, and junk costs only itself."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from indicators.reads import cache
from indicators.reads.job import Job
from indicators.reads.job_queue import PARTS, PLACES, JobQueue
from indicators.reads.pending_jobs import JobClaims
from stocksblitz.redis.client import connect
from stocksblitz.workers.runtime import now_ms
from tests.conftest import aeventually

ENTRY = {"ts": 1, "value": 42.5, "timeframe": "1min", "ready": True}


@pytest.fixture
def enqueue(redis, keys):
    """Puts jobs of a user into the queue, as readers do."""
    redis.zadd(keys.workers("compute"), {"w": now_ms() + 10**9})
    claims = JobClaims(keys)

    def put(user, indicators):
        jobs = [cache.current_job("BTCUSD", "1min", indicator, user) for indicator in indicators]
        assert {claim.state for claim in claims([(job, 0.0) for job in jobs])} <= {"lead", "wait"}
        return jobs

    return put


@asynccontextmanager
async def workers(keys, count, compute):
    """So many workers with connections of their own."""
    stop, clients = asyncio.Event(), [connect() for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(JobQueue(client, keys).serve(compute, stop))
        yield
        stop.set()
    for client in clients:
        await client.aclose()


def idle(redis, keys):
    return not redis.exists(*(keys.jobs(part) for part in ("queue", "data", "taken", "tries")))


async def test_two_workers_compute_each_of_512_jobs_once(redis, keys, enqueue, settings, monkeypatch):
    """Ten rounds, in which a job waits for longer than the job of a dead worker is left alone."""
    monkeypatch.setattr("indicators.reads.job_queue.DEAD_MS", 300)
    monkeypatch.setattr("indicators.reads.job_queue.RENEW_S", 0.05)
    settings.COMPUTE_WAIT_MS = 120_000
    computed = Counter()

    async def compute(job):
        computed[job.token] += 1
        await asyncio.sleep(0.4 if len(computed) % 64 == 0 else 0)
        return ENTRY

    async with workers(keys, 2, compute):
        for round_ in range(10):
            jobs = enqueue(1, [f"SMA_{2 + round_ * 512 + number}" for number in range(512)])
            await aeventually(lambda: idle(redis, keys))
            assert {job.token for job in jobs} <= computed.keys()
    assert len(computed) == 5_120
    assert set(computed.values()) == {1}


async def test_a_job_that_takes_long_stays_with_its_worker(redis, keys, enqueue, monkeypatch):
    monkeypatch.setattr("indicators.reads.job_queue.DEAD_MS", 300)
    monkeypatch.setattr("indicators.reads.job_queue.RENEW_S", 0.05)
    computed = []

    async def compute(job):
        computed.append(job.indicator)
        await asyncio.sleep(1.5)
        return ENTRY

    async with workers(keys, 2, compute):
        enqueue(1, ["SMA_5"])
        await aeventually(lambda: idle(redis, keys))
    assert computed == ["SMA_5"]


async def test_a_worker_takes_no_more_jobs_than_it_has_places(redis, keys, enqueue):
    enqueue(1, [f"SMA_{number}" for number in range(2, 102)])
    go, running = asyncio.Event(), []

    async def compute(job):
        running.append(job)
        await go.wait()
        return ENTRY

    async with workers(keys, 2, compute):
        await aeventually(lambda: len(running) == 2 * PLACES)
        assert redis.zcard(keys.jobs("taken")) == 2 * PLACES
        assert redis.zcard(keys.jobs("queue")) == 100 - 2 * PLACES
        go.set()
        await aeventually(lambda: idle(redis, keys))
    assert len(running) == 100


async def test_a_single_read_is_not_held_up_by_another_users_many(redis, keys, enqueue):
    enqueue(1, [f"SMA_{number}" for number in range(2, 302)])
    order, others = [], None

    async def compute(job):
        nonlocal others
        order.append(job.owner)
        if len(order) == 20:
            others = enqueue(2, ["EMA_9"])
        await asyncio.sleep(0.01)
        return ENTRY

    async with workers(keys, 1, compute):
        await aeventually(lambda: idle(redis, keys))
    assert order.count(1) == 300
    assert order.index(2) - 20 <= 2 * PLACES


async def test_two_users_with_many_reads_take_turns(redis, keys, enqueue):
    enqueue(1, [f"SMA_{number}" for number in range(2, 102)])
    enqueue(2, [f"EMA_{number}" for number in range(2, 102)])
    owners = [job.owner for job in await taken(keys, 100)]
    assert Counter(owners) == {1: 50, 2: 50}


async def test_a_result_that_another_user_has_queued_comes_in_ones_own_turn(redis, keys, enqueue):
    enqueue(1, [f"SMA_{number}" for number in range(2, 102)])
    enqueue(2, ["SMA_101"])
    first = [job.indicator for job in await taken(keys, 3)]
    assert "SMA_101" in first
    assert redis.zcard(keys.jobs("queue")) == 97


async def taken(keys, count):
    client = connect()
    try:
        return await JobQueue(client, keys).take(count)
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    "junk",
    [b"", b"junk", b"\xff", b"[]", b"{}", b"[" * 5000, b'{"kind":"current"}'],
    ids=["empty", "text", "bytes", "array", "object", "deep", "half"],
)
async def test_junk_in_the_queue_costs_only_itself(redis, keys, enqueue, junk):
    redis.hset(keys.jobs("data"), "junk", junk)
    redis.zadd(keys.jobs("queue"), {"junk": 0, "nothing": 0})
    (job,) = enqueue(1, ["SMA_5"])
    assert await taken(keys, 3) == [job]
    assert redis.hkeys(keys.jobs("data")) == [job.token.encode()]
    assert redis.zrange(keys.jobs("taken"), 0, -1) == [job.token.encode()]


@pytest.mark.parametrize("part", PARTS)
async def test_a_queue_of_another_type_is_made_again(redis, keys, enqueue, part):
    redis.set(keys.jobs(part), "junk")
    assert await taken(keys, 3) == []
    (job,) = enqueue(1, ["SMA_5"])
    assert await taken(keys, 3) == [job]


def test_a_job_is_the_same_after_a_round_trip():
    job = Job(
        kind="history",
        symbol="M&M",
        timeframe="1h",
        indicator="RSI_14",
        token="t",
        owner=3,
        ttl=5,
        deadline=6,
        limit=7,
        before=8,
        generation="9",
    )
    assert Job.decode(job.encode()) == job
