"""The portfolio: columns, a whole cycle, the intake of price messages beside the literal design, and the two latencies.

Each part runs in a process of its own, ``python -m bench.portfolio PART``, with a Redis and a database made for it.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bench.harness import Rig, rig
from bench.report import Report

ACCOUNTS, PER_ACCOUNT, SYMBOLS = 100_000, 10, 1_000
DIRTY = 10_000
MESSAGES = 60_000
HOLDERS = 20
LIVE_ACCOUNTS, TICKS, BREACHES = 2_000, 150, 60
Line = tuple[str, float, str, float | None, str | None]


# --- Books


def made_accounts(count: int, rng: random.Random, per: int = PER_ACCOUNT) -> dict[str, Any]:
    from portfolio.terms import Account, Holding, Rules, Terms

    currencies = ("USD", "EUR", "GBP", "JPY")
    terms = [
        Terms(f"S{i}", rng.choice(currencies), contract_size=Decimal(1000), mode="cfd_leverage")
        for i in range(SYMBOLS)
    ]
    lots, price, margin = Decimal("1.5"), Decimal("1.1001"), Decimal(100)
    out = {}
    for number in range(count):
        rules = Rules(rng.choice(currencies), Decimal(100))
        chosen = rng.sample(terms, per)
        rows = [
            Holding(number * per + i, t, rng.choice((1, -1)), lots, price, margin)
            for i, t in enumerate(chosen)
        ]
        out[f"demo:{number}"] = Account(rules, Decimal(100_000), rows)
    return out


def pairs() -> Any:
    from portfolio.rates import Graph, Pair

    return Graph(Pair(name, name[:3], name[3:]) for name in ("EURUSD", "GBPUSD", "USDJPY"))


def quotes(rng: random.Random) -> dict[str, Any]:
    from portfolio.columns import Tick

    now = int(time.time() * 1000)
    names = [f"S{i}" for i in range(SYMBOLS)] + ["EURUSD", "GBPUSD", "USDJPY"]
    middle = {name: round(1.1 + rng.uniform(-0.01, 0.01), 5) for name in names}
    return {name: Tick(at, at + 0.0002, now, now + 3_600_000) for name, at in middle.items()}


def columns() -> list[Line]:
    """A million positions in a hundred thousand accounts, everything dirty."""
    from portfolio.book import Book

    rng = random.Random(1)
    book = Book(pairs())
    now = int(time.time() * 1000)
    book.tick(quotes(rng), now)
    begun = time.perf_counter()
    book.put(made_accounts(ACCOUNTS, rng))
    loaded = time.perf_counter() - begun
    times = []
    for _ in range(9):
        book.tick(quotes(rng), now)
        book.currencies.follow(["EURUSD", "GBPUSD", "USDJPY"])
        begun = time.perf_counter()
        book.revalue()
        times.append(time.perf_counter() - begun)
    name = f"portfolio: {ACCOUNTS * PER_ACCOUNT:,} positions over {ACCOUNTS:,} accounts revalued"
    return [
        (name, sorted(times)[4] * 1000, "ms", None, "<= 100"),
        ("portfolio: the same taken into the columns", loaded, "s", None, None),
    ]


# --- A whole cycle, and one symbol that everybody holds


async def cycle(count: int, per: int = PER_ACCOUNT) -> list[Line]:
    """One tick of one symbol that ``count`` accounts hold: to revalued, written and announced snapshots."""
    from portfolio.engine import Engine
    from portfolio.listener import PortfolioCalculatorListener
    from portfolio.store import Loaded
    from stocksblitz.redis import connect, keys
    from stocksblitz.worker import Leases, shard_of

    redis, names, rng = connect(), keys(), random.Random(2)
    leases = Leases(redis, names, "portfolio")
    await leases.step()
    listener = PortfolioCalculatorListener(redis, names, ("live", "demo"), bound=2_000_000)
    engine = Engine(redis, names, listener, leases, None)  # type: ignore[arg-type]  # nothing is closed here
    engine.sample.one_in = 0
    engine.book.currencies.use(pairs())
    accounts = made_accounts(count, rng, per)
    first = next(iter(accounts.values())).positions[0].terms
    for key, account in accounts.items():
        accounts[key] = replace(
            account, positions=[replace(account.positions[0], terms=first), *account.positions[1:]]
        )
    await leases.step()  # making so many took longer than a lease holds
    engine._take_in({key: Loaded(each, 1, "ok", shard_of(key)) for key, each in accounts.items()})
    book = engine.book
    book.tick(quotes(rng), int(time.time() * 1000))
    book.currencies.follow(["EURUSD"])
    members = list(accounts)
    for start in range(0, count, 5000):
        await redis.sadd(names.holders(first.symbol, "demo"), *members[start : start + 5000])
    await listener.start_listener()
    while len(engine.outbox):
        await leases.step()
        await engine.step()
    times, lookups = [], []
    for round_ in range(5):
        now = int(time.time() * 1000)
        row = {
            "bid": 1.2 + round_ / 100,
            "ask": 1.2002 + round_ / 100,
            "ts": now,
            "fresh_until": now + 3_600_000,
        }
        await redis.hset(names.market(first.symbol), mapping=row)
        await leases.step()
        await listener.news(0)
        begun = time.perf_counter()
        await redis.publish(names.price_updates, first.symbol)
        await listener.news(5)
        lookups.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await engine.step()
        while len(engine.outbox):
            await leases.step()
            await engine.step()
        times.append(time.perf_counter() - begun)
    written = engine.stats["snapshots_written"]
    if written < 6 * count:
        raise AssertionError(f"{written} snapshots written where {6 * count} were due")
    await listener.stop_listener()
    await redis.aclose()
    took = sorted(times)[2] * 1000
    what = f"portfolio: {count:,} dirty accounts revalued, written and announced"
    return [
        (what, took, "ms", None, "<= 200" if count <= DIRTY else None),
        (
            f"portfolio: from a price message to {count:,} dirty holders",
            sorted(lookups)[2] * 1000,
            "ms",
            None,
            "< 10",
        ),
    ]


# --- Intake of messages


async def flood(done: asyncio.Event) -> None:
    """Publish from another process, as fast as Redis takes it, in turns over all symbols."""
    code = (
        "import os,redis,sys;r=redis.Redis.from_url(os.environ['REDIS_URL']);n,s=map(int,sys.argv[2:4]);"
        "p=r.pipeline(transaction=False)\n"
        "for i in range(n):\n p.publish(sys.argv[1],f'S{i*7919%s}')\n if i%500==499: p.execute()\n"
        "p.execute()"
    )
    from stocksblitz.redis import keys

    argv = ["-c", code, keys().price_updates, str(MESSAGES), str(SYMBOLS)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv)
    await process.wait()
    done.set()


async def hold(redis: Any, names: Any) -> None:
    pipe = redis.pipeline(transaction=False)
    for number in range(SYMBOLS):
        for kind in ("live", "demo"):
            pipe.sadd(
                names.holders(f"S{number}", kind), *[f"{kind}:{number * 7 + i}" for i in range(HOLDERS)]
            )
    await pipe.execute()


async def literal(redis: Any, names: Any) -> tuple[int, float]:
    """The literal design: for each message two SMEMBERS, then the dirty sets. (messages, CPU seconds)."""
    dirty: dict[str, set[str]] = {"live": set(), "demo": set()}
    pubsub = redis.pubsub()
    await pubsub.subscribe(names.price_updates)
    await pubsub.get_message(timeout=1)
    done, seen = asyncio.Event(), 0
    task = asyncio.create_task(flood(done))
    begun, started, limit = time.process_time(), time.monotonic(), 4.0
    while time.monotonic() - started < limit:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.2)
        if message is None:
            if done.is_set():
                break
            continue
        symbol = message["data"].decode()
        for kind in dirty:
            members = await redis.smembers(names.holders(symbol, kind))
            dirty[kind].update(member.decode() for member in members)
        seen += 1
    spent = time.process_time() - begun
    await pubsub.aclose()
    await task
    return seen, spent


async def ours(redis: Any, names: Any) -> tuple[int, float]:
    """The same messages through our listener, its dirty accounts taken every 200 ms."""
    from portfolio.listener import PortfolioCalculatorListener

    listener = PortfolioCalculatorListener(redis, names, ("live", "demo"), bound=1_000_000)
    await listener.start_listener()
    await asyncio.sleep(0.5)
    done = asyncio.Event()
    task = asyncio.create_task(flood(done))
    before, begun = listener.get_statistics()["symbols_processed"], time.process_time()
    while not done.is_set() or listener.get_statistics()["symbols_processed"] - before < MESSAGES:
        for kind in ("live", "demo"):
            listener.get_and_clear_dirty_users(kind)
        await asyncio.sleep(0.2)
    spent = time.process_time() - begun
    await task
    await listener.stop_listener()
    return MESSAGES, spent


async def intake() -> list[Line]:
    from stocksblitz.redis import connect, keys

    redis, names = connect(), keys()
    await hold(redis, names)
    slow, spent = await literal(redis, names)
    base = slow / spent
    fast, cost = await ours(redis, names)
    await redis.aclose()
    return [
        (
            "portfolio: price messages taken in per second of one core (vs two SMEMBERS a message)",
            fast / cost,
            "/s",
            base,
            ">= 10",
        ),
        ("portfolio: the same against the bound", fast / cost, "/s", None, ">= 30000"),
    ]


# --- Latencies of a real process


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


async def latency() -> list[Line]:
    """From the publish to the snapshot in Redis, and from a breach to the close that is booked."""
    from portfolio.holders import events
    from portfolio.writer import updates
    from stocksblitz.redis import connect, keys

    redis, names = connect(), keys()
    pubsub = redis.pubsub()
    await pubsub.subscribe(updates(names), events(names))

    async def write(symbol: str, price: float) -> float:
        now = int(time.time() * 1000)
        row = {"bid": price, "ask": price, "ts": now, "fresh_until": now + 3_600_000}
        await redis.hset(names.market(symbol), mapping=row)
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
        ("portfolio: tick to snapshot p50", share(ticks, 0.5), "ms", None, None),
        ("portfolio: tick to snapshot p99", share(ticks, 0.99), "ms", None, "<= 250"),
        ("portfolio: breach to booked close p50", share(closes, 0.5), "ms", None, None),
        ("portfolio: breach to booked close p99", share(closes, 0.99), "ms", None, "<= 400"),
    ]


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


# --- From outside

PARTS: dict[str, Callable[[], Any]] = {
    "columns": columns,
    "cycle": lambda: asyncio.run(cycle(DIRTY)),
    "wide": lambda: asyncio.run(cycle(ACCOUNTS, 1)),
    "intake": lambda: asyncio.run(intake()),
    "prepare": prepare_live,
    "latency": lambda: asyncio.run(latency()),
}


def part(made: Rig, name: str, report: Report) -> None:
    report.say(f"portfolio: {name}")
    out = made.call("-m", "bench.portfolio", name)
    for line in json.loads(out.splitlines()[-1] if out.strip() else "[]") or []:
        what, value, unit, baseline, target = line
        report(what, value, unit, baseline=baseline, target=target)


def run(report: Report) -> None:
    for name in ("columns", "cycle", "wide", "intake"):
        with rig() as made:
            part(made, name, report)
    with rig() as made:
        part(made, "prepare", report)
        worker = made.python("portfolio", "manage.py", "listen_portfolio")
        time.sleep(3)
        worker.check()
        part(made, "latency", report)


def main() -> None:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django

    django.setup()
    json.dump(PARTS[sys.argv[1]](), sys.stdout)


if __name__ == "__main__":
    main()
