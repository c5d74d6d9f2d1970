"""The compute process: the runner of streams, the jobs, the leases and the tidying up, side by side."""

import asyncio
import contextlib
import logging

from indicators.reads.compute import OneShot
from indicators.reads.job_queue import JobQueue
from indicators.subscriptions import maintenance
from indicators.worker.stream_runner import StreamRunner
from stocksblitz.observability import aggregation
from stocksblitz.workers import clean_up
from stocksblitz.workers.backoff import retry_forever
from stocksblitz.workers.leases import HEARTBEAT_S
from stocksblitz.workers.runtime import finish_within

log = logging.getLogger(__name__)

RECONCILE_S = 10.0
FINISH_S = 5.0
"""How long what has begun may take after the stop."""
CLOSE_S = 2.0


class ComputeWorker:
    """Everything one ``compute_indicators`` does until it is stopped."""

    def __init__(self) -> None:
        self.runner = StreamRunner()
        self._jobs = JobQueue(self.runner.redis, self.runner.keys)
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
                tasks.create_task(clean_up.run_until(stop))
                tasks.create_task(self._jobs.serve(self._oneshot.compute, stop))
                tasks.create_task(aggregation.run(stop))
        finally:
            with contextlib.suppress(TimeoutError):  # others take over when the leases run out
                await asyncio.wait_for(self.runner.close(), CLOSE_S)
            log.info("stopped", extra={"action": "stopped", "computed": self.runner.counters.computed})

    async def _leases(self) -> None:
        fresh = await self.runner.leases.step()
        if fresh:
            self.runner.wake()
            log.info(
                "%d shards taken",
                len(fresh),
                extra={"action": "leases", "held": len(self.runner.leases.held)},
            )
