"""What ends access ends connections: logouts, and API keys that change."""

from typing import Any

from django.apps import AppConfig
from django.db import transaction


class DeliveryConfig(AppConfig):
    name = "stocksblitz.delivery"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from stocksblitz.identity.models import ApiKey
        from stocksblitz.identity.revocation import access_ended

        access_ended.connect(close_connections)
        for changed in (post_save, post_delete):
            changed.connect(verify_credentials, sender=ApiKey)


def close_connections(
    sender: object, user_id: int, login_id: Any = None, session_id: str | None = None, **_: Any
) -> None:
    """Close what was opened with access that has ended, in whatever web process it is."""
    from stocksblitz.delivery.control import ControlMessage, publish_sync

    login = str(login_id) if login_id else None
    message = ControlMessage(action="close", user_id=user_id, login_id=login, session_id=session_id)
    transaction.on_commit(lambda: publish_sync([message]))


def verify_credentials(sender: object, **_: Any) -> None:
    """Have every web process check its credentials at once: an API key has changed."""
    from stocksblitz.delivery.control import ControlMessage, publish_sync

    transaction.on_commit(lambda: publish_sync([ControlMessage(action="verify")]))
