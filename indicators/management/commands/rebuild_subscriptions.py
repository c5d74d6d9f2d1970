from typing import Any

from django.core.management.base import BaseCommand

from indicators.subscriptions import service as subscriptions


class Command(BaseCommand):
    help = "Make Redis agree with the database about who subscribes to what; compute does so by itself."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{subscriptions.rebuild_sync()} sessions rebuilt")
