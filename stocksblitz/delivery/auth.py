"""Sign-in of sockets by ticket, token, API key or cookie, and the check of the page that opens them (Origin)."""

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.http.request import validate_host

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.identity import tickets
from stocksblitz.identity.authentication import usable_api_key
from stocksblitz.identity.models import Login
from stocksblitz.identity.tokens import name_of, read_access

_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


type Credential = tuple[str, str]
"""What a socket was opened with: ``("key", prefix)`` or ``("login", id)``."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a socket, and what it was opened with.

    At ``expires_at`` (ms) the socket is closed unless it was renewed; None: it does not expire. ``session_id`` is the one
    that a token carries, ``key`` the prefix of an API key.
    """

    user_id: int
    username: str
    is_staff: bool
    login_id: UUID | None
    expires_at: int | None
    via: str
    session_id: str | None = None
    key: str | None = None

    @property
    def credential(self) -> Credential | None:
        """What is looked up now and then, because it may end without an announcement."""
        if self.key is not None:
            return "key", self.key
        return ("login", str(self.login_id)) if self.login_id else None


def _refuse(why: str) -> StocksBlitzError:
    return StocksBlitzError("not_authenticated", why)


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name), "")


def _endpoint(scheme: str, host: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port, which make an origin; None for anything else."""
    try:
        parts = urlsplit(f"{scheme}://{host}")
        if scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.username:
            return None
        return scheme, parts.hostname.lower(), parts.port or _PORTS[scheme]
    except ValueError:
        return None


def _origin(text: str) -> tuple[str, str, int] | None:
    scheme, found, host = text.partition("://")
    return _endpoint(scheme.lower(), host) if found else None


def origin_allowed(scope: dict[str, Any]) -> bool:
    """Return whether the page may open the socket: no Origin (no browser), the server's own, or a listed one.

    The server's own is the scheme, host and port at which the socket itself was opened.
    """
    text = _header(scope, b"origin")
    if not text:
        return True
    origin = _origin(text)
    if origin is None:
        return False
    if origin in {_origin(allowed) for allowed in settings.ALLOWED_ORIGINS}:
        return True
    own = _endpoint(_SCHEMES.get(scope.get("scheme", "ws"), "http"), _header(scope, b"host"))
    return origin == own and validate_host(origin[1], settings.ALLOWED_HOSTS)


def _identity(
    user: User,
    via: str,
    login_id: UUID | None = None,
    expires_at: int | None = None,
    key: str | None = None,
) -> Identity:
    return Identity(int(user.pk), user.get_username(), user.is_staff, login_id, expires_at, via, key=key)


def _by_token(text: str) -> Identity:
    claims = read_access(text)
    name, staff = name_of(claims)
    return Identity(
        claims.user_id, name, staff, claims.login_id, claims.expires_at, "token", claims.session_id
    )


def _by_ticket(text: str) -> Identity:
    ticket = tickets.redeem(text)
    if ticket is None:
        raise _refuse("the ticket is unknown, used or late: fetch a new one from /auth/ws-ticket")
    user = User.objects.filter(pk=ticket.user_id, is_active=True).first()
    login_id = UUID(ticket.login_id) if ticket.login_id else None
    if user is None or (login_id and not Login.objects.filter(pk=login_id, revoked_at=None).exists()):
        raise _refuse("this login has ended: sign in again")
    return _identity(user, "ticket", login_id, ticket.expires_at, ticket.key)


def _by_key(text: str) -> Identity:
    key = usable_api_key(text)
    if key is None:
        raise _refuse("the API key is unknown, revoked or expired")
    return _identity(key.user, "key", expires_at=key.expires_at, key=key.prefix)


def _by_cookie(scope: dict[str, Any]) -> Identity:
    try:
        jar = SimpleCookie(_header(scope, b"cookie"))
    except CookieError:
        raise _refuse("the cookies cannot be read") from None
    morsel = jar.get(settings.SESSION_COOKIE_NAME)
    if morsel is None:
        raise _refuse("expected a ticket, a token or the session cookie")
    request = HttpRequest()
    request.session = SessionStore(morsel.value)
    user = get_user(request)
    if not isinstance(user, User):
        raise _refuse("the session cookie is not signed in: sign in again")
    login_id = request.session.get("login_id")
    return _identity(user, "cookie", UUID(login_id) if login_id else None)


def _authenticate(scope: dict[str, Any]) -> Identity:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    scheme, _, credential = _header(scope, b"authorization").partition(" ")
    protocols = [name.strip() for name in _header(scope, b"sec-websocket-protocol").split(",")]
    if "ticket" in query:
        return _by_ticket(query["ticket"][0])
    if "token" in query:
        return _by_token(query["token"][0])
    if len(protocols) == 2 and protocols[0].lower() == "bearer":
        return _by_token(protocols[1])
    if scheme.lower() == "bearer":
        return _by_token(credential.strip())
    if scheme.lower() == "api-key":
        return _by_key(credential.strip())
    if not _header(scope, b"origin"):
        raise _refuse("expected a ticket or a token; a cookie counts only with an allowed Origin")
    return _by_cookie(scope)


async def authenticate(scope: dict[str, Any]) -> Identity:
    """Return who opens this socket.

    Raise StocksBlitzError ``forbidden`` for a foreign Origin, ``not_authenticated`` for credentials that do not hold.
    """
    if not origin_allowed(scope):
        raise StocksBlitzError(
            "forbidden", "this page's origin is not allowed: the operator may list it in ALLOWED_ORIGINS"
        )
    return await in_database_thread(_authenticate, scope)


async def authenticate_token(text: str) -> Identity:
    """Return the user of an access token, with which an open socket renews itself."""
    return await in_database_thread(_by_token, text)
