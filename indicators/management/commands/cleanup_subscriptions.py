from typing import Any

from django.core.management.base import BaseCommand

from indicators.subscriptions import service as subscriptions
from stocksblitz.observability import aggregation


class Command(BaseCommand):
    help = "Remove the subscriptions of sessions that gave no sign of life for SESSION_TTL; compute does so by itself."

    def handle(self, *args: Any, **options: Any) -> None:
        removed = subscriptions.cleanup_sync()
        aggregation.push()
        self.stdout.write(f"{removed} ran out and were removed")
