from typing import Any

from django.core.management.base import BaseCommand

from stocksblitz.observability import aggregation
from stocksblitz.workers import clean_up


class Command(BaseCommand):
    help = (
        "Remove what has expired (subscriptions, sessions, logins, keys); a compute worker does so by itself."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for name, removed in clean_up.run_all().items():
            self.stdout.write(f"{name}: {removed} removed")
        aggregation.push()
