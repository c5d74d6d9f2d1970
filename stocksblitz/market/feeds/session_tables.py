"""Writes the session table of each exchange into Redis, for processes that may not load its calendar."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.session_table import encode_table
from stocksblitz.market.core.bars import EVERY_DAY
from stocksblitz.market.feeds.instruments import active_exchanges
from stocksblitz.market.store.session_tables import session_table_name
from stocksblitz.redis.keys import Keys

log = logging.getLogger(__name__)

REFRESH_S = 86_400.0
KEPT_S = 2 * 86_400
"""A table outlives a feed that is away for a day."""


class SessionTables:
    """The tables of every exchange with an instrument. ``years`` says which years they must cover."""

    def __init__(self, redis: Any, keys: Keys, years: Callable[[], range]) -> None:
        self._redis, self._keys, self._years = redis, keys, years
        self._written: dict[str, float] = {}

    async def step(self) -> None:
        """Write the tables that are missing or a day old."""
        now = time.monotonic()
        for exchange in sorted(set((await active_exchanges()).values()) - set(EVERY_DAY)):
            if now - self._written.get(exchange, -REFRESH_S) >= REFRESH_S:
                await self._write(exchange)
                self._written[exchange] = now

    async def _write(self, exchange: str) -> None:
        try:
            table = await asyncio.to_thread(calendars.table_of_years, exchange, self._years())
        except StocksBlitzError as error:
            extra = {"action": "bad_exchange", "exchange": exchange}
            log.error("the sessions of an exchange are not known: %s", error, extra=extra)
            return
        await self._redis.set(session_table_name(self._keys, exchange), encode_table(table), ex=KEPT_S)
