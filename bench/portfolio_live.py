"""What a real portfolio process takes: from a tick to the snapshot, from a breach to the close that is booked."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

from bench.report import Line, percentile

LIVE_ACCOUNTS, TICKS, BREACHES = 2_000, 150, 60


def prepare_live() -> None:
    """Accounts in the database: many that only move, and some that one price stops out."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from portfolio.models import Account, Position
    from stocksblitz.market.models import Instrument
    from stocksblitz.worker import shard_of

    call_command("migrate", interactive=False, verbosity=0)
    owner = User.objects.create(username="bench")
    names = [f"S{i}" for i in range(100)] + [f"B{i}" for i in range(BREACHES)]
    Instrument.objects.bulk_create(
        [
            Instrument(symbol=n, exchange="24x7", kind="index", currency="USD", margin_mode="cfd_leverage")
            for n in names
        ]
    )
    instruments = list(Instrument.objects.filter(symbol__in=names))
    by_name = {each.symbol: each for each in instruments}

    def account(key: str, balance: int) -> Account:
        kind, _, number = key.partition(":")
        made = {
            "key": key,
            "user_type": kind,
            "number": number,
            "shard": shard_of(key),
            "owner": owner,
            "currency": "USD",
        }
        return Account(**made, balance=balance, leverage=100)

    Account.objects.bulk_create([account(f"live:{i}", 1_000_000) for i in range(LIVE_ACCOUNTS)])
    Account.objects.bulk_create([account(f"live:b{i}", 10) for i in range(BREACHES)])
    ids = dict(Account.objects.values_list("key", "pk"))
    row = {"side": "buy", "quantity": 1, "opened_quantity": 1, "price": 100, "margin": 1}
    Position.objects.bulk_create(
        [
            Position(account_id=ids[f"live:{i}"], instrument=by_name[f"S{i % 100}"], **row)
            for i in range(LIVE_ACCOUNTS)
        ]
        + [
            Position(account_id=ids[f"live:b{i}"], instrument=by_name[f"B{i}"], **row)
            for i in range(BREACHES)
        ]
    )


async def put_price(redis: Any, key: str, price: float) -> None:
    now = int(time.time() * 1000)
    row = {"bid": price, "ask": price, "ts": now, "fresh_until": now + 3_600_000}
    await redis.hset(key, mapping=row)


async def latency() -> list[Line]:
    """From the publish to the snapshot in Redis, and from a breach to the close that is booked."""
    from portfolio.holders import events
    from portfolio.writer import updates
    from stocksblitz.redis import connect, keys

    redis, names = connect(), keys()
    pubsub = redis.pubsub()
    await pubsub.subscribe(updates(names), events(names))

    async def write(symbol: str, price: float) -> float:
        await put_price(redis, names.market(symbol), price)
        at = time.monotonic()
        await redis.publish(names.price_updates, symbol)
        return at

    async def until(wanted: Callable[[bytes, Any], bool], patience: float) -> float:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.5)
            if message and wanted(message["channel"], json.loads(message["data"])):
                return time.monotonic()
        raise TimeoutError("the engine said nothing")

    for symbol in [f"S{i}" for i in range(100)] + [f"B{i}" for i in range(BREACHES)]:
        await write(symbol, 100)
    await asyncio.sleep(3)
    rng = random.Random(3)
    ticks = []
    for number in range(TICKS):
        at = await write(f"S{number % 100}", 100 + rng.random())
        account = f"live:{number % 100}"
        seen = await until(lambda channel, data, a=account: a in data.get("accounts", ()), 5)  # type: ignore[misc]  # a default binds the loop variable
        ticks.append((seen - at) * 1000)
        await asyncio.sleep(rng.random() * 0.05)
    closes = []
    for number in range(BREACHES):
        at = await write(f"B{number}", 80.0)  # a loss of twenty where ten were there
        account = f"live:b{number}"

        def booked(channel: bytes, data: Any, account: str = account) -> bool:
            return data.get("account") == account and data["event"]["kind"] == "position_closed"

        closes.append((await until(booked, 10) - at) * 1000)
        await asyncio.sleep(rng.random() * 0.1)
    await pubsub.aclose()
    await redis.aclose()
    return [
        ("portfolio: tick to snapshot p50", percentile(ticks, 0.5), "ms", None, None),
        ("portfolio: tick to snapshot p99", percentile(ticks, 0.99), "ms", None, "<= 250"),
        ("portfolio: breach to booked close p50", percentile(closes, 0.5), "ms", None, None),
        ("portfolio: breach to booked close p99", percentile(closes, 0.99), "ms", None, "<= 400"),
    ]
