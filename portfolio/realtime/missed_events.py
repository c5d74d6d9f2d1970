"""Margin events that no notification brought: looked for in the database, so that a socket has each at least once."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from django.db.models import Max

from portfolio.models import MarginEvent
from portfolio.services.announcements import event_json

LATE_S = 10.0
"""Ids are given out before the commit: for so long one below those already seen may still appear."""
MOST = 1000


class Missed:
    """What one process has told its sockets, and from which id on it looks."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque()
        self._ids: set[int] = set()
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, event_id: int) -> bool:
        """Take an event as told; returns whether it was not before."""
        if event_id in self._ids:
            return False
        self._told.append((time.monotonic(), event_id))
        self._ids.add(event_id)
        return True

    def idle(self) -> None:
        """Nobody watches: what happens meanwhile is missed by nobody."""
        self._looks.clear()

    def find(self, accounts: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
        """(account, event) of these accounts that were not told, oldest first. For a thread; DatabaseError."""
        now = time.monotonic()
        newest = MarginEvent.objects.aggregate(newest=Max("pk"))["newest"] or 0
        if not self._looks:
            self._looks.append(
                (now, max(0, newest - MOST))
            )  # those before a watch are left out by whoever tells
        since = self._looks[0][1]
        rows = MarginEvent.objects.filter(pk__gt=since, account__key__in=list(accounts)).order_by("pk")
        found = [(row.account.key, event_json(row)) for row in rows.select_related("account")[:MOST]]
        self._looks.append((now, min(newest, found[-1][1]["id"]) if len(found) == MOST else newest))
        while len(self._looks) > 1 and now - self._looks[1][0] > LATE_S:
            self._looks.popleft()
        while self._told and now - self._told[0][0] > 3 * LATE_S and self._told[0][1] <= self._looks[0][1]:
            self._ids.discard(self._told.popleft()[1])
        return [each for each in found if each[1]["id"] not in self._ids]
