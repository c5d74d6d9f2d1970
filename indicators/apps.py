from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db import transaction
from django.db.models.signals import pre_delete


class IndicatorsConfig(AppConfig):
    name = "indicators"

    def ready(self) -> None:
        from django.contrib.auth.models import User

        from indicators.reads.session_data import gauges
        from stocksblitz.identity.revocation import access_ended
        from stocksblitz.observability import aggregation
        from stocksblitz.workers.clean_up import Task, tasks

        access_ended.connect(end_sessions)
        aggregation.sources.append(gauges)
        pre_delete.connect(forget_user, sender=User)
        tasks.append(Task("sockets of killed processes", release_dead_sockets, settings.CLEANUP_INTERVAL))
        tasks.append(Task("subscriptions", clean_up_subscriptions, settings.CLEANUP_INTERVAL))


def release_dead_sockets() -> int:
    """Have the sessions expire that a killed web process held; return how many they were."""
    from indicators.subscriptions import dead_sockets

    return dead_sockets.release_dead_sockets()


def clean_up_subscriptions() -> int:
    """Remove expired subscriptions, and repair what Redis lost; return how many expired."""
    from indicators.subscriptions import service as subscriptions

    return subscriptions.cleanup_sync()


def end_sessions(
    sender: object, user_id: int, login_id: Any = None, session_id: str | None = None, **_: Any
) -> None:
    """End the sessions of access that was revoked."""
    from indicators.subscriptions import service as subscriptions

    if session_id is not None:
        subscriptions.end_session_sync(user_id=user_id, session_id=session_id)
    elif login_id is not None:
        subscriptions.end_login_sync(login_id)
    else:
        subscriptions.end_user_sync(user_id)


def forget_user(sender: object, instance: Any, **_: Any) -> None:
    """Remove a deleted user's sessions from Redis once the deletion of their rows is committed."""
    from indicators.models import Session
    from indicators.subscriptions import service as subscriptions
    from stocksblitz.redis.keys import session_key

    rows = Session.objects.filter(user_id=instance.pk).values_list("user_id", "session_id")
    members = [session_key(user_id, str(session_id)) for user_id, session_id in rows]
    transaction.on_commit(lambda: subscriptions.forget_sync(members))
