"""How a worker process is told to stop, waits, and ends within its deadline."""

import asyncio
import contextlib
import faulthandler
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

log = logging.getLogger(__name__)

WORKERS = ("feed", "compute", "portfolio")
"""The kinds of workers that an installation has beside its web processes."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_S = 10.0
"""Seconds that a worker has to stop; a supervisor kills it after more than that."""


def now_ms() -> int:
    """Return the wall clock in milliseconds, UTC."""
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets; a second signal kills as usual.

    `STOP_S` seconds after the first, the process ends whatever still hangs (a thread, a connection, the event loop), with
    code 1, and writes to stderr what each thread was doing.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin() -> None:
        log.info("stopping", extra={"action": "stop"})
        stop.set()

    def request(*_: Any) -> None:
        faulthandler.dump_traceback_later(STOP_S, exit=True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.call_soon_threadsafe(begin)

    # The event loop's own handlers would wait for the loop, which may be what hangs.
    before = {number: signal.signal(number, request) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def finish_within(stop: asyncio.Event, seconds: float) -> AsyncIterator[None]:
    """Cancel the block so many seconds after the stop."""

    async def watch() -> None:
        await stop.wait()
        limit.reschedule(asyncio.get_running_loop().time() + seconds)

    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        log.warning("work cancelled at the deadline", extra={"action": "cut_short"})


async def wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so many seconds or until the stop; return whether the stop has come."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
