"""Measure the portfolio: revaluation in columns, a whole cycle, the intake of price messages, and two latencies.

Each part runs in a separate process (``python -m bench.benchmarks.portfolio PART``) with its own Redis and database.
"""

import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bench import harness
from bench.benchmarks.portfolio_intake import intake
from bench.benchmarks.portfolio_live import latency, prepare_live, put_price
from bench.harness import Rig
from bench.report import Line, Report

ACCOUNTS, PER_ACCOUNT, SYMBOLS = 100_000, 10, 1_000
DIRTY = 10_000
LOADED_AT_ONCE = 1_000
"""Accounts that are taken in before the leases are renewed, which expire after 3 s."""


# --- Books


def random_accounts(count: int, rng: random.Random, per: int = PER_ACCOUNT) -> dict[str, Any]:
    """Return ``count`` accounts with ``per`` positions each in random symbols."""
    from portfolio.margin.types import Holding, MarginAccount, Rules, Terms

    currencies = ("USD", "EUR", "GBP", "JPY")
    terms = [
        Terms(f"S{i}", rng.choice(currencies), contract_size=Decimal(1000), mode="cfd_leverage")
        for i in range(SYMBOLS)
    ]
    lots, price, margin = Decimal("1.5"), Decimal("1.1001"), Decimal(100)
    accounts = {}
    for number in range(count):
        rules = Rules(rng.choice(currencies), Decimal(100))
        chosen = rng.sample(terms, per)
        rows = [
            Holding(number * per + i, t, rng.choice((1, -1)), lots, price, margin)
            for i, t in enumerate(chosen)
        ]
        accounts[f"demo:{number}"] = MarginAccount(rules, Decimal(100_000), rows)
    return accounts


def currency_graph() -> Any:
    """Return the currency pairs with which amounts are converted."""
    from portfolio.margin.fx import Graph, Pair

    return Graph(Pair(name, name[:3], name[3:]) for name in ("EURUSD", "GBPUSD", "USDJPY"))


def quotes(rng: random.Random) -> dict[str, Any]:
    """Return a random fresh price of every symbol and currency pair."""
    from portfolio.valuation.price_columns import PriceTick

    now = int(time.time() * 1000)
    names = [f"S{i}" for i in range(SYMBOLS)] + ["EURUSD", "GBPUSD", "USDJPY"]
    middle = {name: round(1.1 + rng.uniform(-0.01, 0.01), 5) for name in names}
    return {name: PriceTick(at, at + 0.0002, now, now + 3_600_000) for name, at in middle.items()}


def columns() -> list[Line]:
    """Revalue a million positions of a hundred thousand accounts, all of them dirty."""
    from portfolio.valuation.book import Book

    rng = random.Random(1)
    book = Book(currency_graph())
    now = int(time.time() * 1000)
    book.tick(quotes(rng), now)
    begun = time.perf_counter()
    book.put(random_accounts(ACCOUNTS, rng))
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
        (name, statistics.median(times) * 1000, "ms", None, "<= 100"),
        ("portfolio: the same taken into the columns", loaded, "s", None, None),
    ]


# --- A whole cycle with one symbol that every account holds


async def cycle(count: int, per: int = PER_ACCOUNT) -> list[Line]:
    """Measure from one tick of a symbol that ``count`` accounts hold until all snapshots are written and announced."""
    from portfolio.worker.database import Store
    from portfolio.worker.engine import Engine
    from portfolio.worker.price_listener import PortfolioCalculatorListener
    from stocksblitz.redis.client import connect, current_keys
    from stocksblitz.workers.leases import ShardLeases

    redis, names, rng = connect(), current_keys(), random.Random(2)
    leases = ShardLeases(redis, names, "portfolio")
    await leases.step()
    listener = PortfolioCalculatorListener(redis, names, ("live", "demo"), bound=2_000_000)
    engine = Engine(
        redis, names, listener, leases, Store()
    )  # no account reaches a level, so no decision is made
    engine.sample.one_in = 0
    accounts = random_accounts(count, rng, per)
    symbol = share_symbol(accounts)
    await take_in(engine, leases, accounts, quotes(rng))
    members = list(accounts)
    for start in range(0, count, 5000):
        await redis.sadd(names.holders(symbol, "demo"), *members[start : start + 5000])
    await listener.start_listener()
    await write_all(engine, leases)
    times, lookups = [], []
    for round_ in range(5):
        await put_price(redis, names.market(symbol), 1.2 + round_ / 100)
        await leases.step()
        await listener.wait_for_price(0)
        begun = time.perf_counter()
        await redis.publish(names.price_updates, symbol)
        await listener.wait_for_price(5)
        looked_up = time.perf_counter()
        await engine.step()
        await write_all(engine, leases)
        lookups.append(looked_up - begun)
        times.append(time.perf_counter() - looked_up)
    written = engine.stats["snapshots_written"]
    if written < 6 * count:
        raise AssertionError(f"expected {6 * count} snapshots, but {written} were written")
    await listener.stop_listener()
    await redis.aclose()
    took, lookup = statistics.median(times) * 1000, statistics.median(lookups) * 1000
    bound = "<= 200" if count <= DIRTY else None
    return [
        (f"portfolio: {count:,} dirty accounts revalued, written and announced", took, "ms", None, bound),
        (f"portfolio: from a price message to {count:,} dirty holders", lookup, "ms", None, "< 10"),
    ]


def share_symbol(accounts: dict[str, Any]) -> str:
    """Put the first position of every account into the same symbol and return the symbol."""
    terms = next(iter(accounts.values())).positions[0].terms
    for key, account in accounts.items():
        first, *others = account.positions
        accounts[key] = replace(account, positions=[replace(first, terms=terms), *others])
    return str(terms.symbol)


async def take_in(engine: Any, leases: Any, accounts: dict[str, Any], ticks: dict[str, Any]) -> None:
    """Give the engine the accounts as if it had read them from the database; renew the leases in between."""
    from portfolio.worker.database import LoadedAccount
    from stocksblitz.workers.leases import shard_of

    engine.book.currencies.use(currency_graph())
    for part in itertools.batched(accounts.items(), LOADED_AT_ONCE):
        await leases.step()
        engine.accounts.take_in(
            {key: LoadedAccount(account, 1, "ok", shard_of(key)) for key, account in part}
        )
    engine.book.tick(ticks, int(time.time() * 1000))
    engine.book.currencies.follow(["EURUSD"])


async def write_all(engine: Any, leases: Any) -> None:
    """Run the engine until all waiting snapshots are written."""
    while len(engine.outbox):
        await leases.step()
        await engine.step()


# --- The parts and their processes

PARTS: dict[str, Callable[[], Any]] = {
    "columns": columns,
    "cycle": lambda: asyncio.run(cycle(DIRTY)),
    "wide": lambda: asyncio.run(cycle(ACCOUNTS, 1)),
    "intake": lambda: asyncio.run(intake()),
    "prepare": prepare_live,
    "latency": lambda: asyncio.run(latency()),
}


def run_part(rig: Rig, name: str, report: Report) -> None:
    """Run one part in a process and report its figures."""
    report.say(f"portfolio: {name}")
    out = rig.call("-m", "bench.benchmarks.portfolio", name)
    for line in json.loads(out.splitlines()[-1] if out.strip() else "[]") or []:
        figure, value, unit, baseline, target = line
        report(figure, value, unit, baseline=baseline, target=target)


def run(report: Report) -> None:
    """Run all parts one after another; the latencies are measured with a real portfolio process."""
    for name in ("columns", "cycle", "wide", "intake"):
        with harness.rig() as rig:
            run_part(rig, name, report)
    with harness.rig() as rig:
        run_part(rig, "prepare", report)
        worker = rig.python("portfolio", "manage.py", "listen_portfolio")
        time.sleep(3)
        worker.check()
        run_part(rig, "latency", report)


def main() -> None:
    """Run the part that the command line names and print its figures as JSON."""
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django

    django.setup()
    json.dump(PARTS[sys.argv[1]](), sys.stdout)


if __name__ == "__main__":
    main()
