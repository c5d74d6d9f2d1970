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
    redis, names, me = connect(), current_keys(), worker_id()
    queue = JobQueue(redis, names, me)

    async def compute(job):
        await redis.incr(names.name("counted"))
        await asyncio.sleep(seconds)
        return {"ts": 1, "value": 42.5, "timeframe": job.timeframe, "ready": True}

    running = set()
    while True:
        await redis.zadd(names.workers("compute"), {me: now_ms()})
        for job in await queue.take(count=8, block_ms=200):
            running.add(asyncio.create_task(queue.run(job, compute)))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
