"""Put the public sets of holders right from the database."""

from typing import Any

from django.core.management.base import BaseCommand

from portfolio.services.symbol_holders import rebuild


class Command(BaseCommand):
    help = "Make symbol_holders:{symbol}:{type} in Redis exactly what the database says."

    def handle(self, *args: Any, **options: Any) -> None:
        added, removed = rebuild()
        self.stdout.write(f"holders rebuilt: {added} added, {removed} removed")
