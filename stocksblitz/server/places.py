"""Places for the threads that serve requests: few run at a time, and one that only waits gives its place to another.

Hundreds of threads that all run make everything late, also the event loop, because Python lets one run at a time and
gives each its turn.
"""

import contextlib
import threading
from collections.abc import Iterator

TURN_S = 5.0
"""How long a thread waits for a place; then it runs without one, so that a store that is away holds up nobody else."""


class _Current(threading.local):
    """The places that this thread holds one of; None without a place."""

    places: threading.Semaphore | None = None


_current = _Current()


def _take(places: threading.Semaphore) -> None:
    _current.places = places if places.acquire(timeout=TURN_S) else None


def _give_back() -> None:
    places, _current.places = _current.places, None
    if places is not None:
        places.release()


@contextlib.contextmanager
def working(places: threading.Semaphore) -> Iterator[None]:
    """Run the block in one of these places; wait for a free one before."""
    _take(places)
    try:
        yield
    finally:
        _give_back()


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Run a block that only waits (for a computation, a quote, a commit): others may work in this thread's place."""
    places = _current.places
    _give_back()
    try:
        yield
    finally:
        if places is not None:
            _take(places)
