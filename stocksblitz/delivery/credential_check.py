"""Whether what sockets were opened with still stands: an API key, or the login of a browser session.

A logout says so and closes at once. A key that is revoked, and a browser session that expires or is deleted, may say
nothing: so all are looked up together now and then, and as soon as somebody asks.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from itertools import batched

from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from stocksblitz.delivery.auth import Basis
from stocksblitz.delivery.connection import Client
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.identity.models import ApiKey, Login

log = logging.getLogger(__name__)

VERIFY_S = 10.0
MOST = 1_000
"""Looked up in one query."""


def _keys(prefixes: Collection[str]) -> set[str]:
    lasting = Q(expiry_date=None) | Q(expiry_date__gt=timezone.now())
    rows = ApiKey.objects.filter(lasting, prefix__in=prefixes, revoked=False, user__is_active=True)
    return set(rows.values_list("prefix", flat=True))


def _logins(ids: Collection[str]) -> set[str]:
    session = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    rows = Login.objects.filter(Q(session_key="") | Exists(session), pk__in=ids, revoked_at=None)
    return {str(each) for each in rows.filter(user__is_active=True).values_list("pk", flat=True)}


def ended(bases: Collection[Basis]) -> set[Basis]:
    """Those of these that do not stand any more."""
    gone: set[Basis] = set()
    for kind, standing in (("key", _keys), ("login", _logins)):
        for some in batched([name for each, name in bases if each == kind], MOST):
            gone |= {(kind, name) for name in set(some) - standing(some)}
    return gone


class Standing:
    """Closes the sockets of one process whose basis has ended."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self._clients = clients
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Look now."""
        self._asked.set()

    async def watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), VERIFY_S)
            self._asked.clear()
            try:
                await self.verify()
            except (DatabaseError, OSError) as error:
                log.warning(
                    "credentials not verified, will be soon: %s", error, extra={"action": "not_verified"}
                )

    async def verify(self) -> None:
        bases = {client.basis for client in self._clients.values() if client.basis is not None}
        if not bases:
            return
        gone = await in_database_thread(ended, bases)
        for client in list(self._clients.values()):
            if client.basis in gone:
                client.close(Close.NOT_AUTHENTICATED, "what it was opened with has ended: sign in again")
