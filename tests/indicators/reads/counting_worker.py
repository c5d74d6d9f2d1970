"""A compute worker whose kernel only counts: ``python -m tests.indicators.reads.counting_worker SECONDS``."""

import asyncio
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")

import django

django.setup()

from indicators.reads.job_queue import JobQueue
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.workers.leases import worker_id
from stocksblitz.workers.runtime import now_ms


async def main(seconds: float) -> None:
    redis, keys, me = connect(), current_keys(), worker_id()

    async def compute(job):
        await redis.incr(keys.name("counted"))
        await asyncio.sleep(seconds)
        return {"ts": 1, "value": 42.5, "timeframe": job.timeframe, "ready": True}

    async def beat():
        while True:
            await redis.zadd(keys.workers("compute"), {me: now_ms()})
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat())
        tasks.create_task(JobQueue(redis, keys).serve(compute, asyncio.Event()))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
