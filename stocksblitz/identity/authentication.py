"""Who asks over REST: a token, an API key, or the cookie of the dashboard."""

import re
from dataclasses import dataclass
from typing import cast
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.identity.models import ApiKey
from stocksblitz.identity.tokens import read_access, user_of

_API_KEY = re.compile(r"[A-Za-z0-9]{1,32}\.[A-Za-z0-9]{1,128}\Z")
_SESSION_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a request was authenticated: ``request.auth``. ``expires_at`` in ms, None where it does not expire; ``key`` is
    the prefix of an API key."""

    via: str
    session_id: str | None = None
    login_id: UUID | None = None
    expires_at: int | None = None
    key: str | None = None


def _credential(request: Request, keyword: str) -> str | None:
    """What follows the keyword in the Authorization header; None where another kind (or none) is used."""
    scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return value.strip() if scheme.lower() == keyword else None


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Credentials] | None:
        text = _credential(request, "bearer")
        if text is None:
            return None
        try:
            claims = read_access(text)
            user = user_of(claims)
        except StocksBlitzError as error:
            raise AuthenticationFailed(error.message) from None
        return user, Credentials("token", claims.session_id, claims.login_id, claims.expires_at)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def usable_api_key(text: str) -> ApiKey | None:
    """The key, if it is neither revoked nor expired and its user is active."""
    if not _API_KEY.match(text):
        return None
    key = ApiKey.objects.select_related("user").filter(prefix=text.partition(".")[0], revoked=False).first()
    if key is None or key.has_expired or not key.is_valid(text) or not key.user.is_active:
        return None
    return key


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Credentials] | None:
        text = _credential(request, "api-key")
        if text is None:
            return None
        key = usable_api_key(text)
        if key is None:
            raise AuthenticationFailed("the API key is unknown, revoked or expired: make one in the admin")
        return key.user, Credentials("key", expires_at=key.expires_at, key=key.prefix)

    def authenticate_header(self, request: Request) -> str:
        return "Api-Key"


class CookieAuthentication(SessionAuthentication):
    """The cookie of the dashboard, with CSRF."""

    def authenticate(self, request: Request) -> tuple[User, Credentials] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        store = request._request.session
        if "stream_session" not in store:
            store["stream_session"] = str(uuid4())
        login_id = store.get("login_id")
        return found[0], Credentials("cookie", store["stream_session"], UUID(login_id) if login_id else None)


def user_id(request: Request) -> int:
    """Who asks; only behind a permission that somebody is signed in."""
    return int(cast(int, request.user.pk))


def parse_session_id(text: object) -> str:
    """A session id in its one spelling; StocksBlitzError where it is no UUID."""
    if not isinstance(text, str) or not _SESSION_ID.match(text):
        raise StocksBlitzError("invalid_parameter", f"session_id: expected a UUID, got {str(text)[:80]!r}")
    return text.lower()


def session_id_of(request: Request, given: object = None) -> str:
    """The session a request is about: header or body, else the token's or the cookie's own."""
    header = request.META.get("HTTP_X_SESSION_ID")
    named = {parse_session_id(each) for each in (header, given) if each not in (None, "")}
    if len(named) > 1:
        raise StocksBlitzError(
            "invalid_parameter", "X-Session-ID and session_id name different sessions: send one"
        )
    auth = request.auth
    own = auth.session_id if isinstance(auth, Credentials) else None
    found = next(iter(named), own)
    if found is None:
        raise StocksBlitzError(
            "invalid_message", "an API key has no session: name one with X-Session-ID (a UUID)"
        )
    return found
