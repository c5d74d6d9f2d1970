"""The workers' side of one-shot computations: a queue in which users take turns, and which loses no job with a worker.

A worker takes only as many jobs as it has free places, and says twice a second that it holds them; jobs that nobody
holds any more are taken by another worker.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from redis.exceptions import RedisError, ResponseError

from indicators.reads.job import Job, encode_result
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.scripts import register
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)
bad_jobs = BadDataLog("job")
bad_results = BadDataLog("stored_result")

type Compute = Callable[[Job], Awaitable[Any]]

PARTS = ("queue", "turns", "data", "taken", "tries", "bell")
"""The keys of the queue, as ``take.lua`` is given them."""
PLACES = 8
"""Jobs that one worker works on at a time: enough to use the time in which some wait for Redis or the database."""
LOCK_MS = 5_000
"""How long an asker and a worker may both be silent before somebody else takes the computation over."""
DEAD_MS = 2_500
"""A job that no worker has said to hold for so long lost its worker."""
RENEW_S = 0.5
IDLE_S = 0.5
"""How long an idle worker waits for a job before it looks for jobs of dead workers."""
TRIES = 3
"""Workers that may die over one job before it is given up."""


class JobQueue:
    """The jobs that one worker takes and works on."""

    def __init__(self, redis: Any, keys: Keys) -> None:
        self._redis, self._keys = redis, keys
        self._take_script = register(redis, __file__, "take")
        self._begin_script = register(redis, __file__, "begin")
        self._renew_script = register(redis, __file__, "renew")
        self._finish_script = register(redis, __file__, "finish")
        self._held: dict[str, Job] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, compute: Compute, stop: asyncio.Event) -> None:
        """Take jobs and compute them until the stop; what has begun by then is finished."""
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._renew_forever())
            try:
                await retry_forever("taking jobs", partial(self._fill, compute, tasks), stop, every=0)
                if self._running:
                    await asyncio.wait(self._running)
            finally:
                renewing.cancel()

    async def _fill(self, compute: Compute, tasks: asyncio.TaskGroup) -> None:
        """Begin as many jobs as there are free places; wait where there is no place, or no job."""
        free = PLACES - len(self._running)
        if free <= 0:
            await asyncio.wait(self._running, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            return
        jobs = await self.take(free)
        for job in jobs:
            task = tasks.create_task(self._work(job, compute))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not jobs:
            await self._redis.blpop([self._keys.jobs("bell")], IDLE_S)

    async def take(self, count: int) -> list[Job]:
        """Return at most so many jobs, which from now on are this worker's: those of dead workers first."""
        try:
            now = now_ms()
            found = await self._take_script(keys=self._names(*PARTS), args=[now, now - DEAD_MS, count])
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            await self._clear(error)
            return []
        jobs = [job for entry in found if (job := await self._usable(*entry)) is not None]
        self._held |= {job.token: job for job in jobs}
        return jobs

    def _names(self, *parts: str) -> list[str]:
        return [self._keys.jobs(part) for part in parts]

    async def _clear(self, error: ResponseError) -> None:
        """Remove a queue whose keys somebody has overwritten; who waits for its jobs asks again."""
        bad_jobs.report("queue", BadData("job queue", str(error), "keys of the right types"))
        await self._redis.delete(*self._names(*PARTS))

    async def _usable(self, token: bytes, times_taken: int, raw: bytes) -> Job | None:
        """Return the job; junk is removed, and a job that has cost too many workers their life is refused."""
        job = None
        with bad_jobs.skip("queue"):
            job = Job.decode(raw)
        if job is None or job.token.encode() != token:
            await self._forget(token)
            return None
        if times_taken > TRIES:
            log.error("job given up", extra={"action": "job_poisoned", "job": job.key})
            await self._finish(job, _unavailable(f"{job.indicator} cannot be computed now"))
            return None
        return job

    async def _forget(self, token: bytes) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrem(self._keys.jobs("taken"), token)
        pipe.hdel(self._keys.jobs("data"), token)
        pipe.hdel(self._keys.jobs("tries"), token)
        await pipe.execute()

    async def _work(self, job: Job, compute: Compute) -> None:
        try:
            await self.run(job, compute)
        except (RedisError, OSError) as error:  # nobody was told: this worker or another takes the job again
            log.warning("job left: %s", error, extra={"action": "job_left", "job": job.key})
        finally:
            self._held.pop(job.token, None)

    async def run(self, job: Job, compute: Compute) -> None:
        """Compute a job and tell all who wait. A failure reaches them as one error and is not stored."""
        if now_ms() > job.deadline:
            await self._finish(job, _unavailable("the computation came too late: try again"))
            return
        names = [job.cached_at(self._keys), job.locked_at(self._keys)]
        state, *stored = await self._begin_script(keys=names, args=[job.token, LOCK_MS])
        if state == b"lost":
            await self._finish(job, None)
            return
        value = self._stored_value(job, stored[0])
        if value is not None:
            await self._finish(job, value, store=False)
        else:
            await self._finish(job, await _result(job, compute))

    def _stored_value(self, job: Job, raw: bytes) -> Any:
        """Return the result if it was stored while the job waited, and belongs to the right bar."""
        with bad_results.skip(job.cached_at(self._keys)):
            return job.cached(raw) if raw else None
        return None

    async def _finish(self, job: Job, result: Any, *, store: bool = True) -> None:
        """Store the value, release the lock and announce the result in one step; no result: announce nothing."""
        is_value = result is not None and not isinstance(result, StocksBlitzError)
        stored = orjson.dumps(result) if is_value and store else b""
        message = b"" if result is None else encode_result(job, result)
        names = [job.cached_at(self._keys), job.locked_at(self._keys), *self._names("data", "taken", "tries")]
        await self._finish_script(keys=names, args=[job.token, job.ttl, stored, self._keys.results, message])

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(RedisError, OSError):
                await self._renew()

    async def _renew(self) -> None:
        """Say that this worker still holds its jobs."""
        held = list(self._held.values())
        if held:
            names = [self._keys.jobs("taken"), *(job.locked_at(self._keys) for job in held)]
            await self._renew_script(keys=names, args=[now_ms(), LOCK_MS, *(job.token for job in held)])


def _unavailable(message: str) -> StocksBlitzError:
    return StocksBlitzError("unavailable", message)


async def _result(job: Job, compute: Compute) -> Any:
    """Return the computed value, or the error that all who wait are told of."""
    try:
        return job.check(await compute(job))
    except StocksBlitzError as error:
        return error
    except Exception:  # whatever it is: it reaches all who wait as one error, and the worker goes on
        log.exception("job failed", extra={"action": "job_failed", "job": job.key})
        return _unavailable(f"{job.indicator} could not be computed")
