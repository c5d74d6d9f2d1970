"""Tasks beside a loop: kept until they end, their failures logged."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

CLOSE_S = 5.0


class SideTasks:
    """The running tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside the caller."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a side task failed: %s", error, extra={"action": "side_task"})

    async def close(self) -> None:
        """Wait for what is running, a few seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
