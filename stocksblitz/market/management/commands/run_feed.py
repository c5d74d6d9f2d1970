"""The feed process."""

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from stocksblitz.api.errors import StocksBlitzError


class Command(BaseCommand):
    help = "Write prices and bars as the FEED setting says: simulated, replayed, or from outside."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when there is nothing more to write")

    def handle(self, *args: Any, **options: Any) -> None:
        from stocksblitz.market.feeds.runner import FeedProcess, LeaseLost

        async def main() -> None:
            await FeedProcess(settings.FEED, once=options["once"]).run()

        try:
            asyncio.run(main())
        except* StocksBlitzError as errors:
            raise CommandError(f"FEED: {errors.exceptions[0]}") from None
        except* LeaseLost:
            raise CommandError("another feed writes to this realm now") from None
