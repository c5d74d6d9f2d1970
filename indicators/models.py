"""Sessions (a tab, an SDK instance, a REST client) and their subscriptions: what the database says counts."""

import uuid

from django.conf import settings
from django.db import models

from stocksblitz.identity.models import Login
from stocksblitz.market.core.bars import TIMEFRAMES


class Session(models.Model):
    """One client's session. Looked up by (user, session id), always: another user's id is simply not there."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="stream_sessions"
    )
    session_id = models.UUIDField(default=uuid.uuid4)
    login = models.ForeignKey(
        Login, on_delete=models.CASCADE, null=True, blank=True, related_name="stream_sessions"
    )
    ws_conn_id = models.CharField(
        max_length=64, blank=True, help_text="The socket that is its current one, if any"
    )
    version = models.BigIntegerField(default=0, help_text="Grows with every change of its subscriptions")
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "session_id"], name="session_of_its_user")]
        indexes = [models.Index(fields=["ended_at", "last_seen"])]

    def __str__(self) -> str:
        return str(self.session_id)


class Subscription(models.Model):
    """One indicator that a session asked for, under the id it used; an empty id asks for the bars alone."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="subscriptions")
    symbol = models.CharField(max_length=32)
    timeframe = models.CharField(max_length=5, choices=[(tf, tf) for tf in TIMEFRAMES])
    indicator = models.CharField(max_length=96, blank=True, help_text="The id as the session wrote it")
    canonical = models.CharField(
        max_length=96, help_text="The id under which it is computed once for everybody"
    )
    subscribed_at = models.DateTimeField(auto_now_add=True)
    last_heartbeat = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["session", "symbol", "timeframe", "indicator"], name="one_subscription_per_indicator"
            )
        ]
        indexes = [models.Index(fields=["symbol", "timeframe", "canonical"])]

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe} {self.indicator}"
