"""Access and refresh tokens: who it is (``sub``), in which session (``sid``), from which login (``lid``)."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from stocksblitz.errors import StocksBlitzError
from stocksblitz.identity.models import Login


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says; ``expires_at`` is in milliseconds."""

    user_id: int
    session_id: str
    login_id: UUID
    expires_at: int


def _refused(why: str) -> StocksBlitzError:
    return StocksBlitzError("not_authenticated", f"{why}: sign in again at /auth/token")


def _claim(token: Token, login: Login, session_id: str) -> Token:
    token["sub"] = str(login.user_id)
    token["sid"] = session_id
    token["lid"] = str(login.pk)
    return token


def issue(login: Login) -> dict[str, str]:
    """A fresh pair of tokens, and the session that they carry."""
    session_id = str(uuid4())
    return {
        "access": str(_claim(AccessToken(), login, session_id)),
        "refresh": str(_claim(RefreshToken(), login, session_id)),
        "session_id": session_id,
    }


def _read(kind: type[Token], text: str) -> Claims:
    try:
        payload: dict[str, Any] = kind(text).payload  # type: ignore[arg-type]  # checks signature, times, iss and aud
        return Claims(
            int(payload["sub"]), str(UUID(payload["sid"])), UUID(payload["lid"]), int(payload["exp"]) * 1000
        )
    except (TokenError, KeyError, ValueError, TypeError, AttributeError):
        raise _refused("the token is invalid or has expired") from None


def login_of(claims: Claims) -> tuple[Login, User]:
    """The login and the user of a token, unless it was revoked or the user deactivated: one query."""
    login = (
        Login.objects.select_related("user")
        .filter(pk=claims.login_id, user_id=claims.user_id, revoked_at=None, user__is_active=True)
        .first()
    )
    if login is None:
        raise _refused("this login has ended")
    return login, login.user


def read_access(text: str) -> Claims:
    """The claims of an access token; StocksBlitzError ``not_authenticated`` where it is not a good one."""
    return _read(AccessToken, text)


def renew(refresh: str) -> str:
    """A new access token for a refresh token whose login still stands."""
    claims = _read(RefreshToken, refresh)
    login, _ = login_of(claims)
    return str(_claim(AccessToken(), login, claims.session_id))
