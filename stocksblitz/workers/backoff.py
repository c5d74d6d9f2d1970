"""Back-off: how a worker's task goes on after Redis or the database failed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import DatabaseError
from redis.exceptions import RedisError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
)

from stocksblitz.workers.runtime import wait

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1


async def retry_forever(
    name: str, step: Callable[[], Awaitable[Any]], stop: asyncio.Event, *, every: float, cap: float = 2.0
) -> None:
    """Repeat ``step`` every ``every`` seconds until the stop, also after a failure of Redis or the database.

    Pauses after a failure double up to ``cap`` seconds. One line is logged when trouble begins and one when it ends;
    any other exception is raised.
    """

    async def attempt() -> None:
        await step()  # tenacity awaits coroutine functions alone: the lambda of a caller would never run

    async def pause(seconds: float) -> None:
        await wait(stop, seconds)

    def log_failure(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            error = state.outcome.exception()
            log.warning("%s fails, trying again: %s", name, error, extra={"action": "trouble", "task": name})

    def log_recovery(state: RetryCallState) -> None:
        if state.attempt_number > 1 and state.outcome is not None and not state.outcome.failed:
            failures = state.attempt_number - 1
            log.info(
                "%s works again", name, extra={"action": "recovered", "task": name, "failures": failures}
            )

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((RedisError, OSError, DatabaseError)),
        wait=wait_exponential(multiplier=FIRST_PAUSE_S, max=cap),
        stop=stop_when_event_set(stop),  # type: ignore[arg-type]  # asyncio's event answers is_set() as threading's does
        sleep=pause,
        before_sleep=log_failure,
        after=log_recovery,
        retry_error_callback=lambda state: None,
    )
    while not stop.is_set():
        await retrying(attempt)
        if every:
            await wait(stop, every)
