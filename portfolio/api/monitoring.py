"""Statistics of the portfolio processes, and the accounts that wait to be revalued."""

from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portfolio.api.views import described
from portfolio.models import Account
from portfolio.worker import status
from stocksblitz.api.errors import StocksBlitzError


class DirtyUsersReply(serializers.Serializer[Any]):
    user_type = serializers.CharField()
    count = serializers.IntegerField()
    users = serializers.ListField(child=serializers.CharField())


class StatusReply(serializers.Serializer[Any]):
    is_running = serializers.BooleanField()
    workers = serializers.IntegerField()
    uptime_seconds = serializers.FloatField()
    symbols_processed = serializers.IntegerField()
    users_affected_total = serializers.IntegerField()
    dirty_users_live = serializers.IntegerField(required=False)
    dirty_users_demo = serializers.IntegerField(required=False)


class StatusView(APIView):
    @described(StatusReply, operation_id="portfolio_status")
    def get(self, request: Request) -> Response:
        """Listener and engine statistics of all portfolio processes together, and of each."""
        return Response(status.status(settings.PORTFOLIO_USER_TYPES))


class DirtyUsersView(APIView):
    @described(DirtyUsersReply, 403, 404, operation_id="portfolio_dirty_users")
    def get(self, request: Request, user_type: str) -> Response:
        """The accounts of a type that wait to be revalued, or did within the last second.

        Staff see the names of all; others how many there are, and which of them are their own.
        """
        if user_type not in settings.PORTFOLIO_USER_TYPES:
            known = ", ".join(settings.PORTFOLIO_USER_TYPES)
            raise StocksBlitzError(
                "not_found", f"there is no user type {user_type[:40]!r}: expected one of {known}"
            )
        count, users = status.dirty_users(user_type)
        user = request.user
        if not user.is_staff:
            mine = set(Account.objects.filter(owner_id=user.pk).values_list("key", flat=True))
            users = [user for user in users if user in mine]
        return Response({"user_type": user_type, "count": count, "users": users})
