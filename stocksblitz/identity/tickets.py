"""Tickets: how a browser opens a socket without a token in its address. One use, half a minute."""

import re
import secrets
from dataclasses import dataclass

import orjson
from django.conf import settings

from stocksblitz.redis.client import realm_keys, sync_client

_TICKET = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whom a ticket lets in, and until when (ms), where what it was bought with expires. ``key`` is the prefix of the API
    key that bought it."""

    user_id: int
    login_id: str | None
    expires_at: int | None
    key: str | None = None


def _name(text: str) -> str:
    return realm_keys(mock=False).name("ticket", text)


def issue(ticket: Ticket) -> str:
    text = secrets.token_urlsafe(24)
    body = orjson.dumps([ticket.user_id, ticket.login_id, ticket.expires_at, ticket.key])
    sync_client().set(_name(text), body, ex=settings.WS_TICKET_TTL)
    return text


def redeem(text: str) -> Ticket | None:
    """What the ticket stands for, once; None for one that is unknown, used or late."""
    if not _TICKET.match(text):
        return None
    body = sync_client().getdel(_name(text))
    return Ticket(*orjson.loads(body)) if body else None
