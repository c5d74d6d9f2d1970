"""Single flight: whatever is asked for by many is fetched once.

In a process all who ask for a key share one flight. Between processes a lock in Redis decides who fetches: the claim,
given by the caller, is one round trip that takes or renews the lock. Outcomes arrive on a channel; one thread per
process listens to it, renews what this process waits for, and takes over from processes that died. It comes back by
itself after whatever error, and ends after a while without work.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from redis.exceptions import RedisError

from stocksblitz.redis.client import sync_client

log = logging.getLogger(__name__)

HIT, WAIT, MISS = "hit", "wait", "miss"
TICK_S = 0.4
"""How often a flight renews its claim; a few times within the life of a lock."""
IDLE_S = 20.0
"""The listener ends after so long without a flight; the next one starts another."""
SUBSCRIBE_S = 2.0
"""How long the first flight waits for the listener's subscription: an outcome published before it would be lost."""
PAUSE_S = 0.1
"""Pause after a lost connection or an error."""


class Request(Protocol):
    """What is asked for: requests with the same key are the same. ``owner`` is whoever the fetch is done for."""

    @property
    def key(self) -> str: ...
    @property
    def owner(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Where a key stands after its claim.

    ``done``: there is a result (a value, or an exception to raise). ``lead``: this process has it fetched. ``wait``:
    another process does. ``none``: nobody does yet; it is claimed again at the next tick.
    """

    state: Literal["done", "lead", "wait", "none"]
    result: Any = None


@dataclass(slots=True, eq=False)
class Flight[R: Request]:
    """One fetch under way, and all in this process who wait for it.

    ``outcome`` is what the flight means to the caller who began it: a miss, unless the claim says that the value came
    meanwhile (hit) or that another process asked first (wait).
    """

    request: R
    began: float
    waiters: list[Future[Any]] = field(default_factory=list)
    owners: set[Any] = field(default_factory=set)
    outcome: str = MISS

    def join(self) -> Future[Any]:
        """Return a future of its own for each caller, so that one who is cancelled takes nothing from the others."""
        waiter: Future[Any] = Future()
        self.waiters.append(waiter)
        return waiter

    def settle(self, result: Any) -> None:
        for waiter in self.waiters:
            if not waiter.set_running_or_notify_cancel():
                continue
            if isinstance(result, Exception):
                waiter.set_exception(copy.copy(result))  # each caller's traceback is its own
            else:
                waiter.set_result(result)


type Claims[R: Request] = Callable[[Sequence[tuple[R, float]]], Sequence[Claim]]
"""Claims these requests in one round trip; with each comes how long its flight has waited, in seconds."""
type Decoder = Callable[[bytes], tuple[str, Any] | None]
"""Reads a message of the channel: the key and its result (a value or an exception), or None for what is no message."""


@dataclass(frozen=True, slots=True)
class Options:
    """``error`` makes the exception for callers from a text; ``changed`` is told how many flights there are."""

    wait_s: Callable[[], float]
    error: Callable[[str], Exception]
    changed: Callable[[int], object] = lambda count: None


class SingleFlight[R: Request]:
    """The flights of one process over one channel; callers are threads, or tasks that wrap the futures."""

    def __init__(self, channel: str, claims: Claims[R], decode: Decoder, options: Options) -> None:
        self._channel, self._claims, self._decode, self._options = channel, claims, decode, options
        self._flights: dict[str, Flight[R]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()
        self._idle_since = 0.0

    def ask(self, requests: Sequence[R]) -> list[tuple[Future[Any], str]]:
        """Return a future for each request, and its outcome: a miss for the caller who has it fetched."""
        with self._lock:
            joined = [self._join(request) for request in requests]
            self._ensure_listener()
        fresh = [(flight, request) for flight, _, request, is_new in joined if is_new]
        if fresh:
            self._subscribed.wait(SUBSCRIBE_S)
            try:
                self._claim(fresh)
            except (RedisError, OSError) as error:
                log.warning("Redis cannot be reached: %s", error, extra={"action": "unavailable"})
                self._refuse([flight for flight, request in fresh if flight.request is request])
        return [
            (waiter, flight.outcome if flight.request is request else WAIT)
            for flight, waiter, request, _ in joined
        ]

    def _refuse(self, flights: Sequence[Flight[R]]) -> None:
        for flight in flights:
            self._settle(flight.request.key, self._options.error("Redis cannot be reached: try again"))

    def _join(self, request: R) -> tuple[Flight[R], Future[Any], R, bool]:
        """Join or begin the flight; the last part tells whether it has to be claimed for a new owner."""
        flight = self._flights.get(request.key)
        if flight is None:
            flight = self._flights[request.key] = Flight(request, time.monotonic())
            self._options.changed(len(self._flights))
        is_new = request.owner not in flight.owners
        flight.owners.add(request.owner)
        return flight, flight.join(), request, is_new

    def _claim(self, flights: Sequence[tuple[Flight[R], R]]) -> None:
        now = time.monotonic()
        asked = [(request, now - flight.began) for flight, request in flights]
        for (flight, request), claim in zip(flights, self._claims(asked), strict=True):
            if claim.state == "done":
                flight.outcome = MISS if isinstance(claim.result, Exception) else HIT
                self._settle(flight.request.key, claim.result)
            elif claim.state == "wait" and flight.request is request:
                flight.outcome = WAIT

    def _settle(self, key: str, result: Any) -> None:
        with self._lock:
            flight = self._flights.pop(key, None)
            self._options.changed(len(self._flights))
        if flight is not None:
            flight.settle(result)

    # --- the listener -------------------------------------------------------------------------------------------------

    def _ensure_listener(self) -> None:
        if self._flights and (self._thread is None or not self._thread.is_alive()):
            self._idle_since = time.monotonic()
            self._thread = threading.Thread(target=self._listen_forever, name="single-flight", daemon=True)
            self._thread.start()

    def _listen_forever(self) -> None:
        while not self._ended():
            try:
                self._listen()
            except (RedisError, OSError):
                pass  # the claims say so, and the connection is made again
            except Exception:  # whatever it is: without this thread every flight would wait for its time-out
                log.exception("listening failed, going on", extra={"action": "listener_failed"})
            self._subscribed.clear()
            self._give_up_late()
            time.sleep(PAUSE_S)

    def _ended(self) -> bool:
        with self._lock:
            if self._flights or time.monotonic() - self._idle_since < IDLE_S:
                return False
            self._thread = None
            return True

    def _listen(self) -> None:
        """Handle messages until the connection breaks or nothing has been in flight for long."""
        pubsub = sync_client().pubsub(ignore_subscribe_messages=False)
        try:
            pubsub.subscribe(self._channel)
            ticked = 0.0
            while time.monotonic() - self._idle_since < IDLE_S:
                message = pubsub.get_message(timeout=TICK_S)
                if message is not None:
                    self._handle(message)
                if time.monotonic() - ticked >= TICK_S:
                    ticked = time.monotonic()
                    self._tick()
        finally:
            with suppress(RedisError, OSError):
                pubsub.close()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._subscribed.set()
            self._tick()  # outcomes published before the subscription were missed
        elif message["type"] == "message" and (found := self._decode(message["data"])) is not None:
            self._settle(*found)

    def _tick(self) -> None:
        """Give up flights that took too long, and claim the others again."""
        self._give_up_late()
        now = time.monotonic()
        waiting = [flight for flight in list(self._flights.values()) if now - flight.began > TICK_S / 2]
        if waiting:
            self._claim([(flight, flight.request) for flight in waiting])

    def _give_up_late(self) -> None:
        now, wait_s = time.monotonic(), self._options.wait_s()
        for flight in list(self._flights.values()):
            self._idle_since = now
            if now - flight.began > wait_s:
                self._settle(flight.request.key, self._options.error("this takes too long: try again"))
