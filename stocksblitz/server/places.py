"""Places for the threads that serve requests: few run at a time, and one that only waits gives its place to another.

Hundreds of threads that all run make everything late, also the event loop, because Python lets one run at a time and
gives each its turn.
"""

import contextlib
import threading
from collections.abc import Iterator


class _Current(threading.local):
    """The places that this thread has taken one of; None outside of a request."""

    places: threading.Semaphore | None = None


_current = _Current()


@contextlib.contextmanager
def working(places: threading.Semaphore) -> Iterator[None]:
    """Run the block in one of these places; wait for a free one before."""
    with places:
        _current.places = places
        try:
            yield
        finally:
            _current.places = None


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Run a block that only waits (for a computation, a quote, a commit): others may work in this thread's place."""
    places = _current.places
    if places is None:
        yield
        return
    places.release()
    try:
        yield
    finally:
        places.acquire()
