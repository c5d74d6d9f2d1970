"""The compute process: the runner of streams, the jobs, the leases and the tidying up, side by side."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from django.conf import settings

from indicators.reads.compute import OneShot
from indicators.reads.job_queue import JobQueue
from indicators.subscriptions import maintenance
from indicators.worker.stream_runner import StreamRunner
from stocksblitz.observability import aggregation
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.leases import HEARTBEAT_S
from stocksblitz.workers.runtime import finish_within, wait

log = logging.getLogger(__name__)

RECONCILE_S = 10.0
JOBS_AT_ONCE = 32
FINISH_S = 5.0
"""How long what has begun may take after the stop."""
CLOSE_S = 2.0


class ComputeWorker:
    """Everything one ``compute_indicators`` does until it is stopped."""

    def __init__(self) -> None:
        self.runner = StreamRunner()
        self._jobs = JobQueue(
            self.runner.redis, self.runner.keys, self.runner.leases.me, mock=settings.FEED.mock
        )
        self._oneshot = OneShot(self.runner.redis, self.runner.keys)

    async def run(self, stop: asyncio.Event) -> None:
        """Until the stop; what has begun is finished within a deadline, and the leases are given back."""
        await self.runner.start()
        log.info("computing", extra={"action": "start", "worker": self.runner.leases.me})
        try:
            async with finish_within(stop, FINISH_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(self.runner.run(stop))
                tasks.create_task(retry_forever("leases", self._leases, stop, every=HEARTBEAT_S))
                tasks.create_task(
                    retry_forever("reconciling", self.runner.reconcile, stop, every=RECONCILE_S)
                )
                tasks.create_task(retry_forever("rebuilding", maintenance.ensure_rebuilt, stop, every=1.0))
                tasks.create_task(self._clean_up(stop))
                tasks.create_task(self._work_on_jobs(stop))
                tasks.create_task(aggregation.run(stop))
        finally:
            with contextlib.suppress(TimeoutError):  # others take over when the leases run out
                await asyncio.wait_for(self.runner.close(), CLOSE_S)
            log.info("stopped", extra={"action": "stopped", "computed": self.runner.tally.computed})

    async def _leases(self) -> None:
        fresh = await self.runner.leases.step()
        if fresh:
            self.runner.wake()
            log.info(
                "%d shards taken",
                len(fresh),
                extra={"action": "leases", "held": len(self.runner.leases.held)},
            )

    async def _clean_up(self, stop: asyncio.Event) -> None:
        while not await wait(stop, settings.CLEANUP_INTERVAL):
            await persist_once("cleaning up", maintenance.cleanup)

    async def _work_on_jobs(self, stop: asyncio.Event) -> None:
        """Take jobs as they come; several are worked on at a time, so that a slow one does not hold up the rest."""
        async with asyncio.TaskGroup() as running:
            places = asyncio.Semaphore(JOBS_AT_ONCE)

            async def take() -> None:
                for job in await self._jobs.take(count=JOBS_AT_ONCE, block_ms=500):
                    await places.acquire()
                    running.create_task(self._work(job)).add_done_callback(lambda _: places.release())

            await retry_forever("taking jobs", take, stop, every=0)

    async def _work(self, job: Any) -> None:
        began = time.monotonic()
        try:
            await self._jobs.run(job, self._oneshot.compute)
        except Exception as error:  # nobody was told, so another worker, or this one, takes it over
            log.warning("a job was left: %s", error, extra={"action": "job_left", "indicator": job.indicator})
        log.debug("job done", extra={"action": "job", "ms": round((time.monotonic() - began) * 1000)})


async def persist_once(name: str, step: Any) -> None:
    try:
        await step()
    except Exception:  # tidying up comes round again; what failed must not end the computing
        log.exception("%s failed, next time again", name, extra={"action": "trouble"})
