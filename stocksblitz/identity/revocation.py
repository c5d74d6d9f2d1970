"""The end of access: logout, a changed password, a deactivated user. What was opened with it ends at once.

Apps that hold something open for a user listen to `access_ended`.
"""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils import timezone

from stocksblitz.identity.models import Login

access_ended = Signal()
"""Sent with ``user_id`` and, where not all of the user's access has ended, ``login_id`` or ``session_id``."""


def revoke_login(login: Login) -> None:
    """End everything that came from one sign-in."""
    Login.objects.filter(pk=login.pk, revoked_at=None).update(revoked_at=timezone.now())
    access_ended.send(Login, user_id=login.user_id, login_id=login.pk, session_id=None)


def revoke_user(user_id: int) -> None:
    """End everything of a user, wherever it was signed in."""
    Login.objects.filter(user_id=user_id, revoked_at=None).update(revoked_at=timezone.now())
    access_ended.send(User, user_id=user_id, login_id=None, session_id=None)


def end_session(user_id: int, session_id: str) -> None:
    """End one session of a user; the login that it came from stands."""
    access_ended.send(User, user_id=user_id, login_id=None, session_id=session_id)


def open_cookie_login(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """A cookie is a login too, so that signing out ends what was opened with it."""
    from uuid import uuid4

    if request.session.session_key is None:
        request.session.create()
    login = Login.objects.create(user=user, session_key=request.session.session_key or "")
    request.session["login_id"] = str(login.pk)
    request.session["stream_session"] = str(uuid4())


def close_cookie_login(sender: object, request: HttpRequest, user: User | None, **_: Any) -> None:
    login_id = request.session.get("login_id")
    login = Login.objects.filter(pk=UUID(login_id)).first() if login_id else None
    if login:
        revoke_login(login)


def _changed(user: User, update_fields: frozenset[str] | None) -> bool:
    """Whether saving this user takes access away: another password, or no longer active."""
    if user.pk is None or (update_fields and not update_fields & {"password", "is_active"}):
        return False
    before = User.objects.filter(pk=user.pk).values_list("password", "is_active").first()
    if before is None:
        return False
    # A hash that Django renews at sign-in is saved alone and without the plain password: nobody changed anything.
    rehash = set(update_fields or ()) == {"password"} and getattr(user, "_password", None) is None
    return (before[0] != user.password and not rehash) or (before[1] and not user.is_active)


def before_user_saved(
    sender: object, instance: User, update_fields: frozenset[str] | None = None, raw: bool = False, **_: Any
) -> None:
    if not raw and _changed(instance, update_fields):
        user_id = int(instance.pk)
        instance.__dict__["_access_lost"] = lambda: revoke_user(user_id)


def after_user_saved(sender: object, instance: User, **_: Any) -> None:
    lost = instance.__dict__.pop("_access_lost", None)
    if lost:
        transaction.on_commit(lost)
