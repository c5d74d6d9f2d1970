"""The workers' side of one-shot computations: a queue that loses no job when a worker dies, and computes none twice."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError, ResponseError

from indicators.reads.scripts import CLAIM, FINISH, RENEW
from stocksblitz.api.errors import KINDS, StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.redis.keys import MOCK_TTL_S, Keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

GROUP = "compute"
LOCK_MS = 5_000
"""How long an asker and a worker may both be silent before somebody else takes the computation over."""
DEAD_MS = 1_500
"""A job not renewed for so long lost its worker."""
RENEW_S = 0.5
TRIES = 3
"""Workers that may die over one job before it is given up."""


def latest_ttl_ms(timeframe: str, *, mock: bool) -> int:
    """How long a stored value may be read: twice its timeframe, and never longer than mock data live."""
    ttl = 2 * TIMEFRAMES[timeframe]
    return min(ttl, 1000 * MOCK_TTL_S) if mock else ttl


@dataclass(frozen=True, slots=True)
class Job:
    """One computation. ``key`` is where its result is cached for ``ttl`` ms, ``lock`` what ``token`` must hold.

    ``current``: the value at the newest bar. ``history``: one value for each of the last ``limit`` closed bars that
    opened before ``before`` (ms). ``deadline`` (ms): nobody waits any longer. ``low`` and ``high``: see `queue_scripts`.
    """

    key: str
    lock: str
    kind: str
    symbol: str
    timeframe: str
    indicator: str
    token: str
    ttl: int
    deadline: int
    low: str = ""
    high: str = ""
    limit: int = 0
    before: int | None = None
    id: str = ""

    def fields(self) -> list[str]:
        """As the stream holds it: names and values in turn."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__ if name != "id")
        return [str(each) for name, value in pairs if value is not None for each in (name, value)]

    @classmethod
    def parse(cls, id: bytes, fields: Mapping[bytes, bytes]) -> "Job":
        text: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
        numbers: dict[str, Any] = {
            name: int(text[name]) for name in ("ttl", "deadline", "limit", "before") if name in text
        }
        return cls(**{**text, **numbers}, id=id.decode())


class JobQueue:
    """What one worker takes from the queue, and tells of the outcome."""

    def __init__(self, redis: Any, keys: Keys, me: str, *, mock: bool = False) -> None:
        self._redis, self._keys, self._me, self.mock = redis, keys, me, mock
        self._claim = redis.register_script(CLAIM)
        self._finish = redis.register_script(FINISH)
        self._renew = redis.register_script(RENEW)
        self._looked = 0.0

    async def take(self, count: int = 16, block_ms: int = 500) -> list[Job]:
        """Jobs of workers that died, then new ones; waits so long for one to come."""
        try:
            found = await self._orphans(count)
            if not found:
                answer = await self._redis.xreadgroup(
                    GROUP, self._me, {self._keys.jobs: ">"}, count=count, block=block_ms
                )
                found = [entry for _, entries in answer or () for entry in entries]
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._create()
            return []
        return [Job.parse(*entry) for entry in found]

    async def _create(self) -> None:
        with suppress(ResponseError):  # another worker was faster
            await self._redis.xgroup_create(self._keys.jobs, GROUP, "0", mkstream=True)

    async def _orphans(self, count: int) -> list[Any]:
        if time.monotonic() - self._looked < RENEW_S:
            return []
        self._looked = time.monotonic()
        answer = await self._redis.xautoclaim(self._keys.jobs, GROUP, self._me, DEAD_MS, "0-0", count=count)
        found = [entry for entry in answer[1] if entry[1]]
        return [entry for entry in found if not await self._poisoned(*entry)]

    async def _poisoned(self, id: bytes, fields: Mapping[bytes, bytes]) -> bool:
        """Whether the job has cost too many workers their life; then it is answered with an error."""
        (pending,) = await self._redis.xpending_range(self._keys.jobs, GROUP, id, id, 1) or [None]
        if pending is None or pending["times_delivered"] <= TRIES:
            return False
        job = Job.parse(id, fields)
        log.error("job %s given up", job.key, extra={"action": "job_poisoned", "indicator": job.indicator})
        await self.finish(
            job, error=StocksBlitzError("unavailable", f"{job.indicator} cannot be computed now")
        )
        return True

    async def run(self, job: Job, compute: Callable[[Job], Awaitable[Any]]) -> None:
        """Compute a job and tell all who wait. A failure reaches them as one error and is not cached."""
        if now_ms() > job.deadline:
            await self.finish(
                job, error=StocksBlitzError("unavailable", "the computation came too late: try again")
            )
            return
        if not await self._may(job):
            return
        renewing = asyncio.create_task(self._keep(job))
        try:
            outcome: dict[str, Any] = {"value": await compute(job)}
        except StocksBlitzError as error:
            outcome = {"error": error}
        except Exception:  # whatever it is: it reaches all who wait as one error, and the worker goes on
            log.exception("%s failed", job.key, extra={"action": "job_failed", "indicator": job.indicator})
            outcome = {"error": StocksBlitzError("unavailable", f"{job.indicator} could not be computed")}
        finally:
            renewing.cancel()
        await self.finish(job, **outcome)

    async def _may(self, job: Job) -> bool:
        names = [job.key, job.lock, self._keys.jobs]
        args = [job.token, LOCK_MS, job.low, job.high, self._keys.results, job.key, GROUP, job.id]
        return bool(await self._claim(keys=names, args=args))

    async def _keep(self, job: Job) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(RedisError, OSError):
                args = [job.token, LOCK_MS, GROUP, self._me, job.id]
                await self._renew(keys=[job.lock, self._keys.jobs], args=args)

    async def finish(self, job: Job, value: Any = None, error: StocksBlitzError | None = None) -> None:
        """Store the value (or the failure nowhere), release the lock, and tell everybody, in one step."""
        if error is None:
            stored = orjson.dumps(value)
            message = b'{"key":%b,"value":%b}' % (orjson.dumps(job.key), stored)
        else:
            stored = b""
            message = orjson.dumps({"key": job.key, "error": {"code": error.code, "message": error.message}})
        names = [job.key, job.lock, self._keys.jobs]
        await self._finish(
            keys=names, args=[job.token, job.ttl, stored, self._keys.results, message, GROUP, job.id]
        )


def error_of(told: Mapping[str, Any]) -> StocksBlitzError:
    """The error that a worker told of."""
    code = told.get("code")
    return StocksBlitzError(code if code in KINDS else "unavailable", str(told.get("message", "")))
