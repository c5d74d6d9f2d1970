"""Clean-up: what ended and left something behind is removed, by the command ``clean_up`` and by one worker at a time.

Apps register what they have to remove when they start.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from channels.db import database_sync_to_async
from django.db import DatabaseError
from redis.exceptions import RedisError

from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.backoff import retry_forever

log = logging.getLogger(__name__)

HOUR_S = 3600.0
LOOK_S = 5.0
"""How often a worker looks for tasks that are due."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to remove: ``run`` returns how much it removed, and is due every ``every_s`` seconds."""

    name: str
    run: Callable[[], int]
    every_s: float = HOUR_S


tasks: list[Task] = []


def run_all() -> dict[str, int]:
    """Run every task now; return how much each removed."""
    return {task.name: _run(task) for task in tasks}


def run_due() -> None:
    """Run the tasks that no process has run within their interval; one that fails is due again at once."""
    for task in tasks:
        if not sync_client().set(_claim(task), 1, nx=True, px=int(task.every_s * 1000)):
            continue
        try:
            _run(task)
        except (DatabaseError, RedisError, OSError) as error:
            log.warning("a clean-up fails: %s", error, extra={"action": "trouble", "task": task.name})
            with suppress(RedisError, OSError):
                sync_client().delete(_claim(task))


async def run_until(stop: asyncio.Event) -> None:
    """Run what is due until the stop: the side task of a worker."""

    async def step() -> None:
        await database_sync_to_async(run_due, thread_sensitive=False)()

    await retry_forever("clean-up", step, stop, every=LOOK_S)


def _claim(task: Task) -> str:
    """Return the name of the key that is there while the task is not due."""
    return current_keys().name("clean_up", task.name)


def _run(task: Task) -> int:
    removed = task.run()
    if removed:
        log.info("cleaned up", extra={"action": "clean_up", "task": task.name, "removed": removed})
    return removed
