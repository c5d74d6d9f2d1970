"""Listen to prices, revalue accounts, act on margin levels."""

from typing import Any

import uvloop
from django.core.management.base import BaseCommand

from portfolio.worker.process import run


class Command(BaseCommand):
    help = "Portfolio engine: from changed prices to account snapshots and margin decisions. Several share the accounts."

    def handle(self, *args: Any, **options: Any) -> None:
        uvloop.run(run())
