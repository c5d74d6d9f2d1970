"""Signing in and out over REST, and tickets for sockets."""

from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.schema import documented
from stocksblitz.identity import revocation, tickets, tokens
from stocksblitz.identity.authentication import Credentials, parse_session_id, user_id
from stocksblitz.identity.models import Login


class Strict(serializers.Serializer[Any]):
    """Refuses names that it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            expected = ", ".join(sorted(self.fields)) or "none"
            raise serializers.ValidationError(
                {
                    str(name)[:40]: [f"is not a field of this request: expected {expected}"]
                    for name in sorted(unknown)[:5]
                }
            )
        return super().to_internal_value(data)


class TokenRequest(Strict):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=256, trim_whitespace=False)


class TokenReply(serializers.Serializer[Any]):
    access = serializers.CharField()
    refresh = serializers.CharField()
    session_id = serializers.UUIDField()


class RefreshRequest(Strict):
    refresh = serializers.CharField(max_length=4096)


class RefreshReply(serializers.Serializer[Any]):
    access = serializers.CharField()


class LogoutRequest(Strict):
    session_id = serializers.CharField(required=False, max_length=64)


class TicketReply(serializers.Serializer[Any]):
    ticket = serializers.CharField()
    expires_in = serializers.IntegerField()


class _Open(APIView):
    """A route for those who have no token yet, counted per address."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_scope = "auth"

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"


class TokenView(_Open):
    @documented(TokenReply, body=TokenRequest, operation_id="auth_token", tags=["identity"])
    def post(self, request: Request) -> Response:
        """Sign in: a pair of tokens and a session."""
        given = TokenRequest(data=request.data)
        given.is_valid(raise_exception=True)
        user = auth.authenticate(request._request, **given.validated_data)
        if not isinstance(user, User):
            raise StocksBlitzError("not_authenticated", "no active user with this name and password")
        return Response(tokens.issue(Login.objects.create(user=user)))


class RefreshView(_Open):
    @documented(RefreshReply, body=RefreshRequest, operation_id="auth_refresh", tags=["identity"])
    def post(self, request: Request) -> Response:
        """A new access token."""
        given = RefreshRequest(data=request.data)
        given.is_valid(raise_exception=True)
        return Response({"access": tokens.renew(given.validated_data["refresh"])})


class LogoutView(APIView):
    @documented(None, status=204, body=LogoutRequest, operation_id="auth_logout", tags=["identity"])
    def post(self, request: Request) -> Response:
        """End one session, or with an empty body everything that came from this login."""
        given = LogoutRequest(data=request.data)
        given.is_valid(raise_exception=True)
        named = given.validated_data.get("session_id")
        if named:
            revocation.end_session(user_id(request), parse_session_id(named))
        else:
            _end_login(request)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _end_login(request: Request) -> None:
    by = request.auth
    if isinstance(by, Credentials) and by.via == "cookie":
        auth.logout(request._request)
        return
    login_id = by.login_id if isinstance(by, Credentials) else None
    login = Login.objects.filter(pk=login_id).first() if login_id else None
    if login is None:
        raise StocksBlitzError("invalid_message", "an API key has no login to end: name a session_id")
    revocation.revoke_login(login)


class TicketView(APIView):
    @documented(TicketReply, operation_id="auth_ws_ticket", tags=["identity"])
    def post(self, request: Request) -> Response:
        """A ticket that opens one socket: `?ticket=…`."""
        by = request.auth if isinstance(request.auth, Credentials) else Credentials("cookie")
        login_id = str(by.login_id) if by.login_id else None
        ticket = tickets.issue(tickets.Ticket(user_id(request), login_id, by.expires_at, by.key))
        return Response({"ticket": ticket, "expires_in": settings.WS_TICKET_TTL})
