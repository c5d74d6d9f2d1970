"""Measure a real portfolio process: the time from a tick to the snapshot, and from a breach to the booked close."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

from bench.report import Line, percentile

LIVE_ACCOUNTS, TICKS, BREACHES = 2_000, 150, 60
SYMBOLS = [f"S{i}" for i in range(100)] + [f"B{i}" for i in range(BREACHES)]


def prepare_live() -> None:
    """Create accounts: many whose equity only changes, and some that one price brings to their stop-out."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from portfolio.models import Account, Position
    from stocksblitz.market.models import Instrument
    from stocksblitz.workers.leases import shard_of

    call_command("migrate", interactive=False, verbosity=0)
    owner = User.objects.create(username="bench")
    terms = {"exchange": "24x7", "kind": "index", "currency": "USD", "margin_mode": "cfd_leverage"}
    Instrument.objects.bulk_create([Instrument(symbol=symbol, **terms) for symbol in SYMBOLS])
    instruments = {row.symbol: row for row in Instrument.objects.filter(symbol__in=SYMBOLS)}
    held = {f"live:{i}": (f"S{i % 100}", 1_000_000) for i in range(LIVE_ACCOUNTS)}
    held |= {f"live:b{i}": (f"B{i}", 10) for i in range(BREACHES)}
    Account.objects.bulk_create(
        Account(
            key=key,
            user_type="live",
            number=key.partition(":")[2],
            shard=shard_of(key),
            owner=owner,
            currency="USD",
            balance=balance,
            leverage=100,
        )
        for key, (_, balance) in held.items()
    )
    ids = dict(Account.objects.values_list("key", "pk"))
    row = {"side": "buy", "quantity": 1, "opened_quantity": 1, "price": 100, "margin": 1}
    Position.objects.bulk_create(
        Position(account_id=ids[key], instrument=instruments[symbol], **row)
        for key, (symbol, _) in held.items()
    )


async def put_price(redis: Any, key: str, price: float) -> None:
    """Write a fresh quote without a spread."""
    now = int(time.time() * 1000)
    row = {"bid": price, "ask": price, "ts": now, "fresh_until": now + 3_600_000}
    await redis.hset(key, mapping=row)


class PriceSource:
    """Writer of prices that also listens to the engine's announcements."""

    def __init__(self) -> None:
        from stocksblitz.redis.client import connect, current_keys

        self.redis, self.names = connect(), current_keys()
        self.pubsub = self.redis.pubsub()

    async def open(self) -> None:
        """Subscribe to the announcements of snapshots and of account events."""
        from portfolio.services.announcements import events
        from portfolio.worker.snapshot_writer import updates

        await self.pubsub.subscribe(updates(self.names), events(self.names))

    async def close(self) -> None:
        """Close the connections."""
        await self.pubsub.aclose()
        await self.redis.aclose()

    async def write(self, symbol: str, price: float) -> float:
        """Write and announce a price; return the time of the announcement."""
        await put_price(self.redis, self.names.market(symbol), price)
        announced = time.monotonic()
        await self.redis.publish(self.names.price_updates, symbol)
        return announced

    async def ms_until(self, start: float, matches: Callable[[Any], bool], timeout: float) -> float:
        """Wait for a matching announcement; return the milliseconds since ``start``."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=0.5)
            if message and matches(json.loads(message["data"])):
                return (time.monotonic() - start) * 1000
        raise TimeoutError(f"expected an announcement of the engine within {timeout} s, none came")


def moved(account: str) -> Callable[[Any], bool]:
    """Return a condition that holds for the announcement of a snapshot of the account."""
    return lambda data: account in data.get("accounts", ())


def closed(account: str) -> Callable[[Any], bool]:
    """Return a condition that holds for the event of a closed position of the account."""
    return lambda data: data.get("account") == account and data["event"]["kind"] == "position_closed"


async def latency() -> list[Line]:
    """Measure from a price to the snapshot in Redis, and from a breach of the margin level to the booked close."""
    source, rng = PriceSource(), random.Random(3)
    await source.open()
    for symbol in SYMBOLS:
        await source.write(symbol, 100)
    await asyncio.sleep(3)
    ticks, closes = [], []
    for number in range(TICKS):
        start = await source.write(f"S{number % 100}", 100 + rng.random())
        ticks.append(await source.ms_until(start, moved(f"live:{number % 100}"), 5))
        await asyncio.sleep(rng.random() * 0.05)
    for number in range(BREACHES):
        start = await source.write(f"B{number}", 80.0)  # the account loses 20 and has a balance of 10
        closes.append(await source.ms_until(start, closed(f"live:b{number}"), 10))
        await asyncio.sleep(rng.random() * 0.1)
    await source.close()
    return [
        ("portfolio: tick to snapshot p50", percentile(ticks, 0.5), "ms", None, None),
        ("portfolio: tick to snapshot p99", percentile(ticks, 0.99), "ms", None, "<= 250"),
        ("portfolio: breach to booked close p50", percentile(closes, 0.5), "ms", None, None),
        ("portfolio: breach to booked close p99", percentile(closes, 0.99), "ms", None, "<= 400"),
    ]
