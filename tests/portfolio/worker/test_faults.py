"""What must not go wrong when things do: processes killed and paused, two engines on one shard, Redis and
database away.
"""

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from django.conf import settings as django_settings
from django.db import connection

from portfolio.models import Account, Fill, LedgerEntry, MarginEvent, Position
from portfolio.services.queries import current_snapshot
from portfolio.worker.snapshot_writer import LEASES
from stocksblitz.redis.client import sync_client
from stocksblitz.workers.leases import LEASE_MS, fence_key
from tests.conftest import PATIENCE_S, eventually, redis_server, stays, takes_less
from tests.portfolio.worker.test_engine import Process

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

ROOT = Path(__file__).resolve().parents[3]


def database_url():
    """The address of the tests' own database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    who = f"{database['USER']}:{database['PASSWORD']}" if database["PASSWORD"] else database["USER"]
    port = f":{database['PORT']}" if database["PORT"] else ""
    return f"postgres://{who}@{quote(database['HOST'], safe='')}{port}/{database['NAME']}"


@contextlib.contextmanager
def portfolio_process():
    """Start portfolio processes on the tests' own database and Redis; what is left of them is killed at the end."""
    started = []

    def start():
        env = {
            "DATABASE_URL": database_url(),
            "REDIS_URL": django_settings.REDIS_URL,
            "REDIS_NAMESPACE": django_settings.REDIS_NAMESPACE,
            "FEED": "external",
            "PORTFOLIO_SWEEP_S": "1",
        }
        argv = [sys.executable, "manage.py", "listen_portfolio"]
        started.append(subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **env}))
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            with contextlib.suppress(ProcessLookupError):
                each.send_signal(signal.SIGCONT)
                each.kill()
            each.wait(10)


@pytest.fixture
def engine(real, instruments, people):
    with portfolio_process() as start:
        yield start


@pytest.fixture
def snapshot():
    from stocksblitz.redis.client import current_keys, sync_client

    def read(account):
        raw = sync_client().get(current_keys().snapshot(account))
        return orjson.loads(raw) if raw else None

    return read


@pytest.fixture
def tick():
    """Write a price through the client of the settings, whatever Redis they name now."""
    from stocksblitz.redis.client import current_keys, sync_client

    def write(symbol, bid):
        now = int(time.time() * 1000)
        row = {"bid": bid, "ask": bid, "ts": now, "fresh_until": now + 120_000}
        sync_client().hset(current_keys().market(symbol), mapping=row)
        sync_client().publish(current_keys().price_updates, symbol)

    return write


def make(people, key, balance, symbol="EURUSD", price="1.1", quantity="1"):
    """An account with one position, without a request."""
    from decimal import Decimal

    from portfolio.services import accounts

    accounts.open_account(
        key=key, owner=people["alice"], currency="USD", balance=Decimal(balance), leverage=100
    )
    numbers = {"quantity": Decimal(quantity), "price": Decimal(price)}
    return accounts.book_position(key=key, symbol=symbol, side="buy", **numbers).pk


def agrees(snapshot, key):
    """The snapshot in Redis says what the oracle says of the database and the prices of now."""
    written = snapshot(key)
    shown = current_snapshot(Account.objects.select_related("group").get(key=key))
    return written is not None and {**written, "ts": 0, "version": 0, "epoch": 0} == {
        **shown,
        "ts": 0,
        "version": 0,
        "epoch": 0,
    }


def closed_once(position):
    """Closed, by one fill and one booking."""
    row = Position.objects.get(pk=position)
    fills = Fill.objects.filter(position=position, opening=False)
    bookings = LedgerEntry.objects.filter(reference__startswith=f"close:{position}:")
    assert (row.status, row.quantity, fills.count(), bookings.count()) == ("closed", 0, 1, 1)
    assert (
        MarginEvent.objects.filter(kind="position_closed", reference=f"position:{position}:stop_out").count()
        == 1
    )
    account = Account.objects.get(pk=row.account_id)
    assert account.balance == sum(entry.amount for entry in account.ledger.all())


def test_killed_in_the_middle_of_closing_nothing_is_lost_or_done_twice(engine, people, tick, snapshot):
    tick("EURUSD", "1.1")
    positions = {f"live:{n}": make(people, f"live:{n}", "2000") for n in range(12)}
    rng = random.Random(4)
    first = engine()
    eventually(lambda: all(snapshot(key) for key in positions))
    tick("EURUSD", "1.08")
    # Right after the first close is in the database: some are booked and not shown, some are not booked.
    eventually(lambda: Position.objects.filter(status="closed").exists())
    time.sleep(rng.random() * 0.02)  # a random moment of the closes
    first.kill()
    first.wait(10)
    engine()
    eventually(lambda: not Position.objects.filter(status="open").exists())
    for key, position in positions.items():
        closed_once(position)
        eventually(lambda key=key: agrees(snapshot, key), what=key)


def test_another_process_takes_over_within_five_seconds(engine, people, tick, snapshot):
    tick("EURUSD", "1.1")
    keys = [f"live:{n}" for n in range(8)]
    for key in keys:
        make(people, key, "20000")
    running = [engine()]
    bids = itertools.count(11_001)

    def takeover():
        """The time from a process's death until every account is valued at the newest price again."""
        running.append(engine())
        eventually(lambda: all(snapshot(key) for key in keys))
        eventually(shared_out, what="both have shards")
        running.pop(0).kill()
        killed, late = time.monotonic(), set(keys)
        while late and time.monotonic() - killed < PATIENCE_S:
            tick("EURUSD", f"{next(bids) / 10_000:.4f}")
            time.sleep(0.25)  # pace of the ticks
            late = {key for key in late if not agrees(snapshot, key)}
        assert not late
        assert running[0].poll() is None
        return time.monotonic() - killed

    takes_less(5, takeover)


def shared_out():
    """Whether two workers hold leases."""
    from stocksblitz.redis.client import current_keys, sync_client

    names = [current_keys().lease("portfolio", shard) for shard in range(64)]
    return len({raw.split(b"|")[0] for raw in sync_client().mget(names) if raw}) == 2


def test_a_paused_engine_overwrites_nothing_and_closes_nothing_when_it_wakes(engine, people, tick, snapshot):
    """The pause outlasts the lease twice, and another has taken over and closed: a longer one changes nothing more."""
    tick("EURUSD", "1.1")
    position = make(people, "live:1", "2000")
    paused = engine()
    eventually(lambda: snapshot("live:1"))
    tick("EURUSD", "1.1002")
    paused.send_signal(signal.SIGSTOP)
    paused_at = time.monotonic()
    engine()
    old = snapshot("live:1")["epoch"]
    eventually(lambda: snapshot("live:1")["epoch"] > old)
    tick("EURUSD", "1.08")
    eventually(lambda: Position.objects.get(pk=position).status == "closed")
    eventually(lambda: agrees(snapshot, "live:1"))
    eventually(lambda: time.monotonic() - paused_at > 2 * LEASE_MS / 1000, timeout=30)
    paused.send_signal(signal.SIGCONT)
    seen = [(snapshot("live:1")["epoch"], snapshot("live:1")["version"])]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        tick("EURUSD", "1.09")
        seen.append((snapshot("live:1")["epoch"], snapshot("live:1")["version"]))
        time.sleep(0.05)  # pace of the ticks
    assert seen == sorted(seen)
    closed_once(position)
    assert agrees(snapshot, "live:1")


def test_two_engines_that_both_believe_to_have_the_shard(engine, people, tick, snapshot):
    """Leases are broken on purpose: the database and the fence of the snapshots must do."""
    tick("EURUSD", "1.1")
    positions = {f"live:{n}": make(people, f"live:{n}", "2000") for n in range(10)}
    first = Process()
    try:
        eventually(lambda: all(snapshot(key) for key in positions))
        second = Process()
        try:
            leases = second.runner.leases
            fences = {shard: fence + 1000 for shard, fence in first.runner.leases.held.items()}

            async def claim():
                new = set(fences) - set(leases.held)
                leases.held, leases.renewed = dict(fences), time.monotonic()
                for shard, fence in fences.items():
                    sync_client().set(fence_key(leases.keys, LEASES, shard), fence)
                return new

            leases.step = claim
            eventually(lambda: len(second.engine.book) == 10)
            tick("EURUSD", "1.08")
            eventually(lambda: not Position.objects.filter(status="open").exists())
            for key, position in positions.items():
                closed_once(position)
                eventually(lambda key=key: agrees(snapshot, key))
            eventually(lambda: first.engine.stats["snapshots_refused"], what="the older fence is refused")
        finally:
            second.close()
    finally:
        first.close()


def test_redis_is_killed_and_comes_back_empty(engine, people, tick, snapshot, tmp_path, settings):
    socket = tmp_path / "r.sock"
    settings.REDIS_URL = f"unix://{socket}"
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": settings.REDIS_URL}}
    argv = [
        redis_server(),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(tmp_path),
    ]

    def start_redis():
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        eventually(socket.exists)
        return server

    server = start_redis()
    try:
        tick("EURUSD", "1.1")
        make(people, "live:1", "20000")
        position = make(people, "live:2", "2000")
        worker = engine()
        eventually(lambda: snapshot("live:1"))
        server.kill()
        server.wait()
        socket.unlink(missing_ok=True)
        stays(lambda: worker.poll() is None, 1.5)
        server = start_redis()
        tick("EURUSD", "1.0795")  # nothing but this price is there
        eventually(lambda: agrees(snapshot, "live:1"))
        eventually(lambda: Position.objects.get(pk=position).status == "closed")
        closed_once(position)
        from stocksblitz.redis.client import current_keys, sync_client

        eventually(lambda: sync_client().smembers(current_keys().holders("EURUSD", "live")) == {b"live:1"})
        assert worker.poll() is None
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the way to lock a whole database away is SQLite's")
def test_a_database_that_is_away_delays_a_close_and_loses_none(engine, people, tick, snapshot):
    tick("EURUSD", "1.1")
    position = make(people, "live:1", "2000")
    worker = engine()
    eventually(lambda: snapshot("live:1"))
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tick("EURUSD", "1.08")
    eventually(lambda: snapshot("live:1")["state"] == "stop_out")
    stays(lambda: Position.objects.get(pk=position).status == "open" and worker.poll() is None, 1.5)
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: Position.objects.get(pk=position).status == "closed")
    closed_once(position)
    eventually(lambda: agrees(snapshot, "live:1"))


def test_a_clock_that_jumps_closes_nothing_and_versions_grow(
    real, instruments, people, tick, snapshot, monkeypatch
):
    from portfolio.worker import market_reader as market_module
    from portfolio.worker import snapshot_outbox as outbox_module
    from stocksblitz.workers.runtime import now_ms

    shift = [0]
    for module in (market_module, outbox_module):
        monkeypatch.setattr(module, "now_ms", lambda: now_ms() + shift[0])
    tick("EURUSD", "1.1")
    make(people, "live:1", "2000")
    process = Process()
    try:
        eventually(lambda: snapshot("live:1"))
        seen = [snapshot("live:1")["version"]]
        for jump, bid in ((3_600_000, "1.10001"), (-3_600_000, "1.10002"), (0, "1.10003")):
            shift[0] = jump
            tick("EURUSD", bid)
            eventually(lambda: snapshot("live:1")["version"] > seen[-1])
            seen.append(snapshot("live:1")["version"])
            assert snapshot("live:1")["stale"] == (jump > 0)
        assert not MarginEvent.objects.exists()
        eventually(lambda: agrees(snapshot, "live:1"))
    finally:
        process.close()


def test_one_position_closed_by_many_at_once_is_closed_once(real, instruments, people, tick):
    from decimal import Decimal

    from django.db import connections

    from portfolio.services import accounts
    from portfolio.services.margin_enforcement import enforce
    from stocksblitz.api.errors import StocksBlitzError

    tick("EURUSD", "1.1")
    position = make(people, "live:1", "2000")
    tick("EURUSD", "1.08")
    outcomes = []
    barrier = threading.Barrier(8)

    def close(by_engine):
        barrier.wait()
        try:
            if by_engine:
                outcomes.append(any(e.kind == "position_closed" for e in enforce("live:1")))
            else:
                quote = accounts.current_quote("live:1", "EURUSD")
                accounts.close_position(key="live:1", position_id=position, quantity=Decimal(1), quote=quote)
                outcomes.append(True)
        except StocksBlitzError as error:
            outcomes.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=close, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes.count(True) == 1
    assert set(outcomes) <= {True, False, "conflict"}
    assert Fill.objects.filter(position=position, opening=False).count() == 1
    assert Account.objects.get().balance == 0
