"""How a worker process starts to stop, waits, and ends in its time."""

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
"""The kinds that an installation has beside its web processes."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_S = 10.0
"""How long a worker has to stop: less than whoever supervises it waits before it kills."""


def now_ms() -> int:
    """The wall clock in milliseconds, UTC."""
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """Yield an event set by the first SIGTERM or SIGINT; a second one kills as usual.

    `STOP_S` after the first the process ends whatever still hangs (a thread, a connection, the event loop itself), with
    code 1 and on stderr what each thread was doing.
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

    # Not the loop's own handlers: those wait for the loop, which may be what hangs.
    before = {number: signal.signal(number, request) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def finish_within(stop: asyncio.Event, seconds: float) -> AsyncIterator[None]:
    """What runs inside is cancelled so many seconds after the stop."""

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
        log.warning("not all was finished in time", extra={"action": "cut_short"})


async def wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait that long, or until the stop; return whether it came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
