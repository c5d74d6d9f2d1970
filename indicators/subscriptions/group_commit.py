"""Group commit: all requests that wait are written in one transaction, and each is answered after it.

One thread a process does the writing, so that it serves views (threads) and consumers (an event loop) alike.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, reset_queries
from redis.exceptions import RedisError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.server.places import waiting

log = logging.getLogger(__name__)

MAX_GROUP = 256
LINGER_S = 0.003
"""How long a group waits for more requests while many come: fewer commits cost less than the wait."""
AGAIN_S = 2.0
"""A write that failed within this time is tried once more; after it, its requests have waited enough."""
IDLE_S = 5.0
"""A writer without work gives its database connection back and ends; the next request starts another."""

type Job[Request] = tuple[Request, Future[Any]]


def _unavailable(error: Exception) -> StocksBlitzError:
    log.warning("a write failed: %s", error, extra={"action": "write_failed"})
    return StocksBlitzError("unavailable", "the database or Redis is out of reach: try again in a moment")


class GroupCommit[Request]:
    """Queue of requests with one writer; ``commit(requests)`` writes a group and returns a result or exception each."""

    def __init__(self, name: str, commit: Callable[[Sequence[Request]], list[Any]]) -> None:
        self._name = name
        self._commit = commit
        self._queue: queue.SimpleQueue[Job[Request]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, request: Request) -> Future[Any]:
        """Hand in a request; the future holds its outcome."""
        future: Future[Any] = Future()
        with self._lock:
            self._queue.put((request, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return future

    def call(self, request: Request) -> Any:
        """Write a request and wait for its outcome; refused in a transaction, where it would wait for its own lock."""
        if connection.in_atomic_block:
            raise RuntimeError("subscriptions are written by a thread of their own: do it on_commit")
        with waiting():
            return self.submit(request).result()

    def _run(self) -> None:
        crowded = False
        while True:
            try:
                jobs = [self._queue.get(timeout=IDLE_S)]
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._thread = None
                        break
                continue
            if crowded:
                time.sleep(LINGER_S)
            with suppress(queue.Empty):
                while len(jobs) < MAX_GROUP:
                    jobs.append(self._queue.get_nowait())
            crowded = len(jobs) > 1
            reset_queries()  # Django keeps them for its debug page, which this thread has none of
            live = [job for job in jobs if job[1].set_running_or_notify_cancel()]
            if live:
                self._serve(live)
        connection.close()

    def _serve(self, jobs: list[Job[Request]]) -> None:
        try:
            outcomes = self._attempt([request for request, _ in jobs])
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, OperationalError | InterfaceError | RedisError):
                outcomes = [self._explain(error)] * len(jobs)
            else:  # one request makes the group fail: write each alone
                for job in jobs:
                    self._serve([job])
                return
        for (_, future), outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _attempt(self, requests: list[Request]) -> list[Any]:
        """Write the group, and once more where the connection was lost or another process held a lock."""
        began = time.monotonic()
        try:
            return self._commit(requests)
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() - began > AGAIN_S:
                raise
            return self._commit(requests)

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, RedisError | DatabaseError | OSError):
            if isinstance(error, OperationalError | InterfaceError):
                connection.close()
            return _unavailable(error)
        log.error("a write failed", exc_info=error, extra={"action": "write_failed"})
        return error
