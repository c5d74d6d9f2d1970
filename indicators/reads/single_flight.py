"""What this process waits for: one flight per computation, however many ask; told of the outcome, never polling for it.

One thread per process listens to results, renews the locks of what is in flight, and takes over from askers that died.
"""

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings
from redis.exceptions import RedisError

from indicators.reads.job_queue import LOCK_MS, Job, error_of
from indicators.reads.scripts import ASK
from indicators.subscriptions import reference_counts
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability import metrics
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.leases import ALIVE_MS
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

TICK_S = 0.4
NOBODY_S = 1.2
"""How long one waits for a worker to appear (it may just be starting) before the answer is `unavailable`."""
IDLE_S = 20.0
MOST_JOBS = 10_000
HIT, WAIT, MISS = "hit", "wait", "miss"


@dataclass(slots=True, eq=False)
class Flight:
    """One computation under way, and all in this process who wait for it.

    ``led``: this process put the job. ``outcome``: what it is to the caller who began the flight: a ``miss``, unless
    Redis says that the value came meanwhile (``hit``) or that another process asked first (``wait``).
    """

    job: Job
    born: float
    waiters: list[Future[Any]] = field(default_factory=list)
    led: bool = False
    outcome: str = MISS

    def waiter(self) -> Future[Any]:
        """A future of its own for each, so that one who goes away takes nothing from the others."""
        waiter: Future[Any] = Future()
        self.waiters.append(waiter)
        return waiter


class SingleFlight:
    def __init__(self, names: Keys) -> None:
        self._keys = names
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    def ask(self, jobs: Sequence[Job]) -> list[tuple[Future[Any], str]]:
        """Wait for these; each with what it is to this caller: ``miss`` for the one whose call has it computed."""
        with self._lock:
            joined = [self._join(job) for job in jobs]
            if self._thread is None and joined:
                self._thread = threading.Thread(target=self._run, name="desk", daemon=True)
                self._thread.start()
        fresh = [flight for flight, _, first in joined if first]
        if fresh:
            self._ready.wait(2.0)  # an outcome told before we listen would be lost
            try:
                self._say(fresh)
            except (RedisError, OSError) as error:
                log.warning("Redis is away: %s", error, extra={"action": "unavailable"})
                for flight in fresh:
                    self._settle(
                        flight.job.key, StocksBlitzError("unavailable", "Redis is out of reach: try again")
                    )
        return [(waiter, flight.outcome if first else WAIT) for flight, waiter, first in joined]

    def _join(self, job: Job) -> tuple[Flight, Future[Any], bool]:
        flight = self._flights.get(job.key)
        first = flight is None
        if flight is None:
            flight = self._flights[job.key] = Flight(job, time.monotonic())
            metrics.jobs_waiting.set(len(self._flights))
        return flight, flight.waiter(), first

    def _say(self, flights: Sequence[Flight]) -> None:
        """Ask Redis for each: cached by now, in work, or ours to put into the queue."""
        commands = [self._command(flight.job) for flight in flights]
        for flight, answer in zip(flights, reference_counts.run(sync_client(), commands), strict=True):
            match answer[0]:
                case b"cached":
                    flight.outcome = HIT
                    self._settle(flight.job.key, orjson.loads(answer[1]))
                case b"mine":
                    flight.led = True
                case b"others":
                    flight.outcome = WAIT
                case b"full":
                    busy = StocksBlitzError(
                        "unavailable", "too many computations are waiting: try again in a moment"
                    )
                    self._settle(flight.job.key, busy)
                case b"nobody" if not flight.led and time.monotonic() - flight.born > NOBODY_S:
                    self._settle(
                        flight.job.key,
                        StocksBlitzError("unavailable", "no compute worker is alive: try again"),
                    )

    def _command(self, job: Job) -> reference_counts.Command:
        names = [job.key, job.lock, self._keys.jobs, self._keys.workers("compute")]
        args: list[Any] = [job.token, LOCK_MS, now_ms() - ALIVE_MS, MOST_JOBS, job.low, job.high]
        return ASK, names, [*args, *job.fields()]

    def _settle(self, key: str, outcome: Any) -> None:
        with self._lock:
            flight = self._flights.pop(key, None)
            metrics.jobs_waiting.set(len(self._flights))
        for waiter in flight.waiters if flight else ():
            if not waiter.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, StocksBlitzError):
                waiter.set_exception(StocksBlitzError(outcome.code, outcome.message))
            else:
                waiter.set_result(outcome)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            pubsub = sync_client().pubsub(ignore_subscribe_messages=False)
            with suppress(RedisError, OSError):
                pubsub.subscribe(self._keys.results)
                idle_since = self._listen(pubsub, idle_since)
            with suppress(RedisError, OSError):
                pubsub.close()
            self._ready.clear()
            with suppress(RedisError, OSError):
                self._tick()
            with self._lock:
                if not self._flights and time.monotonic() - idle_since > IDLE_S:
                    self._thread = None
                    return
            time.sleep(0.1)

    def _listen(self, pubsub: Any, idle_since: float) -> float:
        """Until the connection breaks, or nothing has been in flight for long; returns since when that was."""
        ticked = time.monotonic()
        while True:
            message = pubsub.get_message(timeout=TICK_S)
            if message is not None:
                self._hear(message)
            now = time.monotonic()
            if now - ticked >= TICK_S:
                ticked = now
                self._tick()
            if self._flights:
                idle_since = now
            elif now - idle_since > IDLE_S:
                return idle_since

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._ready.set()
            self._tick()  # what was told before is lost: look
        elif message["type"] == "message":
            told = orjson.loads(message["data"])
            if told["key"] in self._flights:
                self._settle(told["key"], error_of(told["error"]) if "error" in told else told["value"])

    def _tick(self) -> None:
        """Give up what took too long; ask again for the rest."""
        now, most = time.monotonic(), settings.COMPUTE_WAIT_MS / 1000
        for key, flight in list(self._flights.items()):
            if now - flight.born > most:
                late = StocksBlitzError("unavailable", "the computation takes too long: try again")
                self._settle(key, late)
        waiting = [flight for flight in list(self._flights.values()) if now - flight.born > TICK_S / 2]
        if waiting:
            self._say(waiting)


_desks: dict[str, SingleFlight] = {}
_making = threading.Lock()


def desk() -> SingleFlight:
    """The desk of the running realm."""
    names = current_keys()
    with _making:
        return _desks.setdefault(names.prefix, SingleFlight(names))


def token() -> str:
    return uuid.uuid4().hex
