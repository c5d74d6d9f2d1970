"""What every worker process stands on: a stop signal, supervised side tasks, a heartbeat, and leases with fencing."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)

WORKERS = ("feed", "compute", "portfolio")
"""The kinds that an installation has beside its web processes."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_S = 10.0
"""How long a worker has to stop: less than whoever supervises it waits before it kills."""
HEARTBEAT_S = 1.0
ALIVE_MS = 3_500
"""A worker whose last heartbeat is older than this is taken for dead: three missed beats and some."""
LEASE_MS = 3_000
SHARDS = 64


def now_ms() -> int:
    """The wall clock in milliseconds, UTC."""
    return time.time_ns() // 1_000_000


def shard_of(name: str) -> int:
    """The shard of a symbol or an account; the same in every process."""
    return zlib.crc32(name.encode()) % SHARDS


def worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


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
    before = {each: signal.signal(each, request) for each in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


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


async def retry_forever(
    name: str, step: Callable[[], Awaitable[Any]], stop: asyncio.Event, *, every: float, cap: float = 2.0
) -> None:
    """Repeat ``step`` every so many seconds until the stop; what Redis or the database fails at is tried again.

    Waits grow to ``cap`` seconds while it fails. One line is logged when trouble begins and one when it ends.
    """
    from django.db import DatabaseError

    failures = 0
    while not stop.is_set():
        try:
            await step()
        except (RedisError, OSError, DatabaseError) as error:
            if not failures:
                log.warning(
                    "%s fails, trying again: %s", name, error, extra={"action": "trouble", "task": name}
                )
            failures += 1
            await wait(stop, min(cap, 0.05 * 2**failures))
            continue
        if failures:
            log.info(
                "%s works again", name, extra={"action": "recovered", "task": name, "failures": failures}
            )
            failures = 0
        if every:
            await wait(stop, every)


_ACQUIRE = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^[^|]+') ~= ARGV[1] then return 0 end
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return tonumber(string.match(held, '[^|]+$'))
end
local fence = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, tonumber(ARGV[2]))
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. string.format('%.0f', fence), 'PX', ARGV[3])
return fence
"""
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^[^|]+') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass
class ShardLeases:
    """The shards that this worker may work on, each with its fencing number.

    A fence is the larger of the old one plus one and the clock in milliseconds, so that it grows even over a Redis that
    was flushed. Whoever writes with a fence lower than one already seen is refused by the write itself; the lease only
    keeps that rare.
    """

    redis: Any
    keys: Keys
    kind: str
    me: str = field(default_factory=worker_id)
    held: dict[int, int] = field(default_factory=dict)
    renewed: float = 0.0

    def __post_init__(self) -> None:
        self._acquire = self.redis.register_script(_ACQUIRE)
        self._release = self.redis.register_script(_RELEASE)

    async def step(self) -> set[int]:
        """Say that we live, renew what we hold, take what is free up to a fair share, give back what is over it.

        Returns the shards whose fence is new (taken now, or taken again after they were lost).
        """
        began = time.monotonic()
        workers = await self.beat()
        share = -(-SHARDS // max(1, len(workers)))
        for shard in sorted(self.held)[share:]:
            await self.release(shard)
        before = dict(self.held)
        kept = await self._take(list(before))
        first = zlib.crc32(self.me.encode()) % SHARDS  # workers begin at different places
        others = [shard for i in range(SHARDS) if (shard := (first + i) % SHARDS) not in kept]
        missing = share - len(kept)
        taken: dict[int, int] = {}
        while missing > len(taken) and others:
            some, others = others[: missing - len(taken)], others[missing - len(taken) :]
            taken |= await self._take(some)
        self.held = kept | taken
        self.renewed = began
        return {shard for shard, fence in self.held.items() if before.get(shard) != fence}

    async def beat(self) -> list[bytes]:
        """Write the heartbeat; returns the workers alive."""
        name, now = self.keys.workers(self.kind), now_ms()
        pipe = self.redis.pipeline(transaction=False)
        pipe.zadd(name, {self.me: now})
        pipe.zremrangebyscore(name, 0, now - ALIVE_MS)
        pipe.zrange(name, 0, -1)
        workers: list[bytes] = (await pipe.execute())[2]
        return workers

    async def _take(self, shards: list[int]) -> dict[int, int]:
        """Renew or take these, in one round trip; those that another holds are left out."""
        if not shards:
            return {}
        pipe = self.redis.pipeline(transaction=False)
        for shard in shards:
            lease = self.keys.lease(self.kind, shard)
            await self._acquire(
                keys=[lease, f"{lease}:fence"], args=[self.me, now_ms(), LEASE_MS], client=pipe
            )
        answers = await pipe.execute()
        return {shard: int(fence) for shard, fence in zip(shards, answers, strict=True) if fence}

    async def release(self, shard: int) -> None:
        self.held.pop(shard, None)
        await self._release(keys=[self.keys.lease(self.kind, shard)], args=[self.me])

    async def close(self) -> None:
        """Give everything back, so that others need not wait for it to run out."""
        with contextlib.suppress(RedisError, OSError):
            for shard in list(self.held):
                await self.release(shard)
            await self.redis.zrem(self.keys.workers(self.kind), self.me)

    def fence(self, name: str) -> int | None:
        """The fencing number for a symbol or account, or None when its shard is not ours (any more)."""
        return self.fence_of(shard_of(name))

    def fence_of(self, shard: int) -> int | None:
        """The same for a shard."""
        if time.monotonic() - self.renewed > LEASE_MS / 1000:
            return None
        return self.held.get(shard)
