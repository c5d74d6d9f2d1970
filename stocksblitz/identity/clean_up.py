"""Removal of what sign-ins leave behind: browser sessions, logins, failed attempts."""

from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from stocksblitz.identity.models import Login

ATTEMPTS_KEPT = timedelta(days=30)
"""How long staff may look at sign-ins; the lockout itself counts in Redis and forgets by itself."""
ENDED_KEPT = timedelta(days=1)
"""How long staff may look at a login that has ended."""


def remove_browser_sessions() -> int:
    """Remove expired browser sessions; return how many."""
    return Session.objects.filter(expire_date__lt=timezone.now()).delete()[0]


def remove_logins() -> int:
    """Remove logins that no token, refresh token or browser session can use any more; return how many rows went."""
    now = timezone.now()
    jwt: dict[str, Any] = settings.SIMPLE_JWT
    longest = jwt["REFRESH_TOKEN_LIFETIME"] + jwt["ACCESS_TOKEN_LIFETIME"]
    session = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    by_token = Q(session_key="", created_at__lt=now - longest)
    by_cookie = ~Q(session_key="") & Q(created_at__lt=now - ENDED_KEPT) & ~Exists(session)
    ended = Q(revoked_at__lt=now - ENDED_KEPT)
    return Login.objects.filter(by_token | by_cookie | ended).delete()[0]


def remove_attempts() -> int:
    """Remove old records of sign-ins and failed attempts; return how many."""
    old = timezone.now() - ATTEMPTS_KEPT
    kinds = (AccessAttempt, AccessFailureLog, AccessLog)
    return sum(kind.objects.filter(attempt_time__lt=old).delete()[0] for kind in kinds)
