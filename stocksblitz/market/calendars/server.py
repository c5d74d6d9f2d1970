"""The feed's answers to those who ask for an exchange's sessions (`stocksblitz.market.calendars.client`)."""

import asyncio
from typing import Any

import orjson

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.client import ASKED_S, kept, wanted
from stocksblitz.redis.keys import Keys

KEPT_S, ERROR_KEPT_S = 86_400, 60
BLOCK_S = 1.0


async def answer(redis: Any, names: Keys) -> None:
    """Wait a moment for somebody to ask, and answer."""
    asked = await redis.blpop([wanted(names)], timeout=BLOCK_S)
    if asked is None:
        return
    exchange, year, answers = orjson.loads(asked[1])
    name = kept(names, exchange, year)
    if not await redis.exists(name):
        told, ttl = await asyncio.to_thread(_table, exchange, year)
        await redis.set(name, told, ex=ttl)
    await redis.rpush(answers, 1)
    await redis.expire(answers, ASKED_S)


def _table(exchange: str, year: int) -> tuple[bytes, int]:
    try:
        return orjson.dumps(calendars.table(exchange, year)), KEPT_S
    except (StocksBlitzError, ValueError) as error:
        return orjson.dumps({"error": str(error)}), ERROR_KEPT_S
