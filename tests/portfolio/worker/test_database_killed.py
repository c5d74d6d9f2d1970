"""PostgreSQL killed with -9 in the middle of margin closing: no close is lost, none is done twice."""

import random
import time

import dj_database_url
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, connections

from portfolio.models import Position
from tests.conftest import eventually
from tests.portfolio.conftest import make_instruments
from tests.portfolio.worker.test_faults import agrees, closed_once, make, portfolio_process, snapshot, tick  # noqa: F401  (fixtures)
from tests.postgres import running  # noqa: F401  (fixtures)  (a fixture)

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture
def on_postgres(postgres, django_db_blocker):
    """This test's own Django on that server, migrated; its connections end with it."""
    ours = connections.settings["default"]
    theirs = {**ours, **dj_database_url.parse(postgres.url), "OPTIONS": {}, "CONN_MAX_AGE": 0}
    with django_db_blocker.unblock():
        connection.close()
        del connections["default"]
        connections.settings["default"] = theirs
        try:
            call_command("migrate", verbosity=0)
            yield postgres
        finally:
            connection.close()
            del connections["default"]
            connections.settings["default"] = ours


@pytest.fixture
def engine(real, on_postgres):
    with portfolio_process() as start:
        yield start


def still_open():
    """How many positions are open; None while the database is away."""
    try:
        return Position.objects.filter(status="open").count()
    except DatabaseError:
        connection.close()
        return None


def test_no_close_is_lost_or_done_twice(engine, on_postgres, tick, snapshot):
    people = {"alice": User.objects.create(username="alice")}
    make_instruments()
    tick("EURUSD", "1.1")
    safe = "live:safe"
    make(people, safe, "1000000")
    positions = {f"live:{n}": make(people, f"live:{n}", "2000") for n in range(60)}
    rng = random.Random(7)
    worker = engine()
    eventually(lambda: all(snapshot(key) for key in [safe, *positions]), timeout=60)
    tick("EURUSD", "1.08")
    for away in (0.5, 7.0):
        before = still_open()
        assert before, "the middle of it is still to come"
        eventually(lambda before=before: (still_open() or 99) < before, timeout=30, what="the first close")
        time.sleep(rng.random() * 0.05)  # a random moment of the closes
        on_postgres.kill()
        assert still_open() is None
        killed, step = time.monotonic(), 0
        while time.monotonic() - killed < away:
            step += 1
            tick("EURUSD", f"{1.08 - step / 100_000:.5f}")
            shown = f"{-2000 - step:.2f}"  # prices are followed without the database
            eventually(lambda shown=shown: snapshot(safe)["unrealized_pnl"] == shown, what=shown)
            assert worker.poll() is None
        tick("EURUSD", "1.08")
        on_postgres.start()
    assert still_open() > 1, "it was killed in the middle"
    eventually(lambda: still_open() == 1, timeout=60)
    assert Position.objects.get(status="open").account.key == safe
    for key, position in positions.items():
        closed_once(position)
        eventually(lambda key=key: agrees(snapshot, key), what=key)
    tick("EURUSD", "1.09")
    eventually(lambda: agrees(snapshot, safe))
    assert worker.poll() is None
