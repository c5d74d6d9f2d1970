"""What a real portfolio process takes: from a tick to the snapshot, from a breach to the close that is booked."""

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
    """Accounts in the database: many that only move, and some that one price stops out."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from portfolio.models import Account, Position
    from stocksblitz.market.models import Instrument
    from stocksblitz.workers.leases import shard_of

    call_command("migrate", interactive=False, verbosity=0)
    owner = User.objects.create(username="bench")
    terms = {"exchange": "24x7", "kind": "index", "currency": "USD", "margin_mode": "cfd_leverage"}
    Instrument.objects.bulk_create([Instrument(symbol=symbol, **terms) for symbol in SYMBOLS])
    by_name = {each.symbol: each for each in Instrument.objects.filter(symbol__in=SYMBOLS)}
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
        Position(account_id=ids[key], instrument=by_name[symbol], **row) for key, (symbol, _) in held.items()
    )


async def put_price(redis: Any, key: str, price: float) -> None:
    now = int(time.time() * 1000)
    row = {"bid": price, "ask": price, "ts": now, "fresh_until": now + 3_600_000}
    await redis.hset(key, mapping=row)


class Exchange:
    """Writes prices as a feed does, and hears what the engine says of them."""

    def __init__(self) -> None:
        from stocksblitz.redis.client import connect, current_keys

        self.redis, self.names = connect(), current_keys()
        self.pubsub = self.redis.pubsub()

    async def open(self) -> None:
        from portfolio.services.symbol_holders import events
        from portfolio.worker.snapshot_writer import updates

        await self.pubsub.subscribe(updates(self.names), events(self.names))

    async def close(self) -> None:
        await self.pubsub.aclose()
        await self.redis.aclose()

    async def write(self, symbol: str, price: float) -> float:
        """Publish a price; returns when."""
        await put_price(self.redis, self.names.market(symbol), price)
        at = time.monotonic()
        await self.redis.publish(self.names.price_updates, symbol)
        return at

    async def ms_until(self, at: float, wanted: Callable[[Any], bool], patience: float) -> float:
        """How long after that moment the engine said it."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=0.5)
            if message and wanted(json.loads(message["data"])):
                return (time.monotonic() - at) * 1000
        raise TimeoutError("the engine said nothing")


def moved(account: str) -> Callable[[Any], bool]:
    return lambda data: account in data.get("accounts", ())


def closed(account: str) -> Callable[[Any], bool]:
    return lambda data: data.get("account") == account and data["event"]["kind"] == "position_closed"


async def latency() -> list[Line]:
    """From the publish to the snapshot in Redis, and from a breach to the close that is booked."""
    exchange, rng = Exchange(), random.Random(3)
    await exchange.open()
    for symbol in SYMBOLS:
        await exchange.write(symbol, 100)
    await asyncio.sleep(3)
    ticks, closes = [], []
    for number in range(TICKS):
        at = await exchange.write(f"S{number % 100}", 100 + rng.random())
        ticks.append(await exchange.ms_until(at, moved(f"live:{number % 100}"), 5))
        await asyncio.sleep(rng.random() * 0.05)
    for number in range(BREACHES):
        at = await exchange.write(f"B{number}", 80.0)  # a loss of twenty where ten were there
        closes.append(await exchange.ms_until(at, closed(f"live:b{number}"), 10))
        await asyncio.sleep(rng.random() * 0.1)
    await exchange.close()
    return [
        ("portfolio: tick to snapshot p50", percentile(ticks, 0.5), "ms", None, None),
        ("portfolio: tick to snapshot p99", percentile(ticks, 0.99), "ms", None, "<= 250"),
        ("portfolio: breach to booked close p50", percentile(closes, 0.5), "ms", None, None),
        ("portfolio: breach to booked close p99", percentile(closes, 0.99), "ms", None, "<= 400"),
    ]
