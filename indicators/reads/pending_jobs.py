"""The readers' side of one-shot computations: one job per result for all who ask, in this process and in others."""

import threading
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from indicators.reads.job import Job, decode_result
from indicators.reads.job_queue import LOCK_MS
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability import metrics
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.scripts import ScriptCall, run_scripts, script_text
from stocksblitz.redis.single_flight import Claim, Options, SingleFlight
from stocksblitz.workers.leases import ALIVE_MS
from stocksblitz.workers.runtime import now_ms

bad_results = BadDataLog("stored_result")
bad_messages = BadDataLog("result")

NOBODY_S = 1.2
"""How long a reader waits for a worker to appear (it may just be starting) before the answer is `unavailable`."""
MOST_JOBS = 10_000
"""Jobs that may wait; more are refused."""

type Claimed = tuple[Job, float]
"""A job, and for how many seconds its readers have waited."""


def unavailable(message: str) -> StocksBlitzError:
    return StocksBlitzError("unavailable", message)


class JobClaims:
    """Puts jobs into the queue of one realm, unless their results are stored or somebody else asked before."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._script = script_text(__file__, "ask")

    def __call__(self, claimed: Sequence[Claimed]) -> list[Claim]:
        """Claim all in one round trip, and once more those whose stored result cannot be used."""
        answers = self._ask([job for job, _ in claimed], [b""] * len(claimed))
        claims = [
            self._claim(job, waited, answer) for (job, waited), answer in zip(claimed, answers, strict=True)
        ]
        unusable = [index for index, claim in enumerate(claims) if claim is None]
        again = self._ask([claimed[i][0] for i in unusable], [answers[i][1] for i in unusable])
        for index, answer in zip(unusable, again, strict=True):
            claims[index] = self._claim(*claimed[index], answer)
        return [claim or Claim("none") for claim in claims]

    def _ask(self, jobs: Sequence[Job], refused: Sequence[bytes]) -> list[Any]:
        return run_scripts(sync_client(), list(map(self._call, jobs, refused)))

    def _call(self, job: Job, refused: bytes) -> ScriptCall:
        parts = [self._keys.jobs(part) for part in ("queue", "turns", "data", "bell")]
        names = [job.cached_at(self._keys), job.locked_at(self._keys), *parts, self._keys.workers("compute")]
        args = [job.token, LOCK_MS, now_ms() - ALIVE_MS, MOST_JOBS, job.owner, job.encode(), refused]
        return ScriptCall(self._script, names, args)

    def _claim(self, job: Job, waited_s: float, answer: Any) -> Claim | None:
        """Return where the job stands; None for a stored result that cannot be used."""
        match answer[0]:
            case b"stored":
                return self._stored(job, answer[1])
            case b"mine":
                return Claim("lead")
            case b"others":
                return Claim("wait")
            case b"full":
                return Claim("done", unavailable("too many computations are waiting: try again in a moment"))
            case _ if waited_s > NOBODY_S:
                return Claim("done", unavailable("no compute worker is alive: try again"))
        return Claim("none")

    def _stored(self, job: Job, raw: bytes) -> Claim | None:
        with bad_results.skip(job.cached_at(self._keys)):
            value = job.cached(raw)
            return None if value is None else Claim("done", value)
        return None


def _decode(message: bytes) -> tuple[str, Any] | None:
    with bad_messages.skip("sb:results"):
        return decode_result(message)
    return None


_flights: dict[str, SingleFlight[Job]] = {}
_making = threading.Lock()


def flights() -> SingleFlight[Job]:
    """Return the flights of the running realm."""
    keys = current_keys()
    with _making:
        if keys.prefix not in _flights:
            options = Options(
                wait_s=lambda: settings.COMPUTE_WAIT_MS / 1000,
                error=unavailable,
                changed=metrics.jobs_waiting.set,
            )
            _flights[keys.prefix] = SingleFlight(keys.results, JobClaims(keys), _decode, options)
        return _flights[keys.prefix]
