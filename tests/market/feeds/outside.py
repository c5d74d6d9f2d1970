"""An external feed whose turns are taken by the test."""

import asyncio
import contextlib

from stocksblitz.market.feeds.bar_archive import Archive
from stocksblitz.market.feeds.external.feed import ExternalFeed
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.feeds.writer import MarketWriter
from stocksblitz.workers.runtime import now_ms
from tests.conftest import aeventually

MINUTE, DAY = 60_000, 86_400_000


class Outside:
    """An external feed whose turns are taken by the test, and the somebody who writes the prices."""

    def __init__(self, aredis, redis, keys, option=""):
        self.redis, self.keys = redis, keys
        self.archive = Archive(aredis, keys)
        self.feed = ExternalFeed(FeedSpec.parse(f"external{option}"), aredis, keys, self.archive)
        self.writer = MarketWriter(aredis, keys, self.feed, mock=False, archive=self.archive)
        self.stop = asyncio.Event()

    async def open(self):
        intact = await self.writer.inspect()
        await self.feed.open(intact=intact, gen=self.writer.gen)
        if not intact:
            await self.writer.refill(list(self.feed.markets))
        self.task = asyncio.create_task(self.feed.intake(self.stop))
        subscribed = self.keys.price_updates.encode()
        await aeventually(lambda: dict(self.redis.pubsub_numsub(subscribed))[subscribed] > 0)
        return self

    async def close(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def price(self, symbol="AAA", **fields):
        """Write a price and wait until the feed has read it."""
        seen = self.seen
        self.redis.hset(self.keys.market(symbol), mapping=fields)
        self.redis.publish(self.keys.price_updates, symbol)
        await aeventually(lambda: self.seen != seen)

    @property
    def seen(self):
        bars = [listing.bars for listing in self.feed.listings.values()]
        return [(b.part, b.newest, b.refused.total()) for b in bars]

    async def turn(self, now=0):
        await self.feed.step(now or now_ms())
        await self.writer.flush()
        while await self.archive.step():
            pass


async def read_all(out):
    """Have the feed read every symbol, as after a connection that was lost, and wait until it has."""
    await out.feed._on_connect()
    await asyncio.sleep(0)
    await aeventually(lambda: not out.feed._changed and not out.feed._wake.is_set())


def noon():
    """Yesterday's: no minute, session or day ends while a test runs, whenever that is."""
    return now_ms() // DAY * DAY - DAY // 2
