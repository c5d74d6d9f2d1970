"""Checks whether what connections were opened with is still valid: an API key, or the login of a browser session.

A logout closes its connections at once over the control channel. A key that a query revokes, a user whom a query
deactivates and a browser session that expires announce nothing: all credentials are looked up together every `CHECK_S`
seconds, and as soon as a control message asks for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection
from itertools import batched

from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from stocksblitz.delivery.auth import Credential
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.identity.models import ApiKey, Login

log = logging.getLogger(__name__)

CHECK_S = 10.0
QUERY_SIZE = 1_000
"""Credentials looked up in one query."""


def _valid_keys(prefixes: Collection[str]) -> set[str]:
    lasting = Q(expiry_date=None) | Q(expiry_date__gt=timezone.now())
    rows = ApiKey.objects.filter(lasting, prefix__in=prefixes, revoked=False, user__is_active=True)
    return set(rows.values_list("prefix", flat=True))


def _valid_logins(ids: Collection[str]) -> set[str]:
    session = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    rows = Login.objects.filter(Q(session_key="") | Exists(session), pk__in=ids, revoked_at=None)
    return {str(pk) for pk in rows.filter(user__is_active=True).values_list("pk", flat=True)}


def ended(credentials: Collection[Credential]) -> set[Credential]:
    """Return the credentials that are no longer valid."""
    found: set[Credential] = set()
    for kind, valid in (("key", _valid_keys), ("login", _valid_logins)):
        names = [name for credential_kind, name in credentials if credential_kind == kind]
        for batch in batched(names, QUERY_SIZE):
            found |= {(kind, name) for name in set(batch) - valid(batch)}
    return found


class CredentialCheck:
    """Closes the connections of one process whose credential has ended."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Have the credentials checked at once."""
        self._requested.set()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), CHECK_S)
            self._requested.clear()
            try:
                await self.check()
            except (DatabaseError, OSError) as error:
                log.warning("credentials not checked: %s", error, extra={"action": "not_verified"})

    async def check(self) -> None:
        credentials = {c.credential for c in self._registry.open_connections() if c.credential is not None}
        if not credentials:
            return
        found = await in_database_thread(ended, credentials)
        for connection in self._registry.open_connections():
            if connection.credential in found:
                connection.close(Close.NOT_AUTHENTICATED, "what it was opened with has ended: sign in again")
