"""Bad data costs only its own subject: it is skipped, counted, and logged once until the subject is good again."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from stocksblitz.observability.metrics import bad_data
from stocksblitz.redis.decoding import BadData

log = logging.getLogger(__name__)

MAX_SUBJECTS = 1_000
"""Subjects that were logged and are still bad; beyond that bad data is only counted, because names may be hostile too."""


class BadDataLog:
    """Counts the bad data of one format and logs each subject (a symbol, a channel, a key) once while it is bad.

    An instance may be shared by threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bad: set[str] = set()
        self._total = bad_data.labels(name)

    @contextlib.contextmanager
    def skip(self, subject: str, otherwise: Callable[[], object] | None = None) -> Iterator[None]:
        """End the block at bad data, report it and call ``otherwise``; a block that ends well clears the subject."""
        try:
            yield
        except BadData as error:
            self.report(subject, error)
            if otherwise is not None:
                otherwise()
        else:
            self.clear(subject)

    def report(self, subject: str, error: BadData) -> None:
        """Count bad data, and log it unless the subject was bad already."""
        self._total.inc()
        if subject in self._bad or len(self._bad) >= MAX_SUBJECTS:
            return
        self._bad.add(subject)
        extra = {"action": "bad_data", "format": self._name, "subject": subject}
        log.warning("bad data is skipped: %s", error, extra=extra)

    def clear(self, subject: str) -> None:
        """Note that the subject is good, or no longer of interest: the next bad data of it is logged again."""
        self._bad.discard(subject)

    def record(self, good: Iterable[str], bad: Mapping[str, BadData]) -> None:
        """Report the bad subjects of one read and clear the good ones."""
        self._bad.difference_update(good)
        for subject, error in bad.items():
            self.report(subject, error)

    def record_all(self, subject: str, errors: Sequence[BadData]) -> None:
        """Report all that was bad in one subject; clear the subject when nothing was."""
        for error in errors:
            self.report(subject, error)
        if not errors:
            self.clear(subject)
