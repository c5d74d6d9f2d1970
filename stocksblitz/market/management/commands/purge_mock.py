"""Removes simulated and replayed data from Redis."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Remove simulated and replayed prices, bars and values from Redis; subscriptions stay."

    def handle(self, *args: Any, **options: Any) -> None:
        count = asyncio.run(_purge())
        self.stdout.write(f"{count} keys of the mock realm removed")


async def _purge() -> int:
    from stocksblitz.market.store.purge import purge
    from stocksblitz.redis.client import connect, realm_keys

    redis = connect()
    try:
        return await purge(redis, realm_keys(mock=True))
    finally:
        await redis.aclose()
