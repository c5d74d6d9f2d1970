"""Margin events that no announcement brought: looked for in the database, so that a socket gets each at least once."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from django.db.models import Max

from portfolio.models import MarginEvent
from portfolio.services.announcements import event_json

LATE_S = 10.0
"""Ids are given out before the commit: one below those already seen may still appear for so long."""
MAX_EVENTS = 1000


class MissedEvents:
    """The events that one process has sent, and the id after which it looks for others."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._sent_ids: set[int] = set()
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, event_id: int) -> bool:
        """Take an event as sent; return whether it was not before."""
        if event_id in self._sent_ids:
            return False
        self._sent.append((time.monotonic(), event_id))
        self._sent_ids.add(event_id)
        return True

    def forget(self) -> None:
        """Begin again at the newest event when somebody watches: nobody misses the events before."""
        self._looks.clear()

    def find(self, accounts: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
        """Return (account, event) of these accounts that were not sent, oldest first. Call it in a thread."""
        now = time.monotonic()
        newest = MarginEvent.objects.aggregate(newest=Max("pk"))["newest"] or 0
        if not self._looks:  # whoever sends leaves out the events before a watch
            self._looks.append((now, max(0, newest - MAX_EVENTS)))
        rows = MarginEvent.objects.filter(pk__gt=self._looks[0][1], account__key__in=list(accounts))
        rows = rows.select_related("account").order_by("pk")
        found = [(row.account.key, event_json(row)) for row in rows[:MAX_EVENTS]]
        seen_to = min(newest, found[-1][1]["id"]) if len(found) == MAX_EVENTS else newest
        self._looks.append((now, seen_to))
        self._forget_old(now)
        return [(account, event) for account, event in found if event["id"] not in self._sent_ids]

    def _forget_old(self, now: float) -> None:
        while len(self._looks) > 1 and now - self._looks[1][0] > LATE_S:
            self._looks.popleft()
        while self._sent and now - self._sent[0][0] > 3 * LATE_S and self._sent[0][1] <= self._looks[0][1]:
            self._sent_ids.discard(self._sent.popleft()[1])
