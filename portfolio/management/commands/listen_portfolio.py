"""Listen to prices, revalue accounts, act on margin levels."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from portfolio.runner import run


class Command(BaseCommand):
    help = "Portfolio engine: from changed prices to account snapshots and margin decisions. Several share the accounts."

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(run())
