"""Fixtures of every test: a real Redis of our own, names of its own for each test, and waiting without sleeping blind."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn

from tests import databases

ROOT = Path(__file__).resolve().parents[1]
"""The folder of the project."""
DATA = ROOT.parent / "shared" / "data"

_folder = tempfile.mkdtemp(prefix="sb-test-")
_SOCKET = f"{_folder}/redis.sock"
os.environ["STOCKSBLITZ_DATA"] = _folder
os.environ["REDIS_URL"] = f"unix://{_SOCKET}"
os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)  # it would hide calls of the ORM in coroutines
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the processes that tests start are many: they compile once

import pytest  # the environment above is read when Django's settings load
from django.conf import settings as django_settings

# pytest-django has loaded the settings before this file: what they took from the environment is set again.
django_settings.DATA_DIR = Path(_folder)
django_settings.REDIS_URL = os.environ["REDIS_URL"]
for cache in django_settings.CACHES.values():
    cache["LOCATION"] = os.environ["REDIS_URL"]
django_settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"] = [os.environ["REDIS_URL"]]
if "sqlite" in django_settings.DATABASES["default"]["ENGINE"]:
    django_settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"{_folder}/test.sqlite3"


def redis_server() -> str:
    """The path of a Redis server: the embedded one of this environment, else the system's."""
    beside = Path(sys.executable).parent / "redis-server"
    found = str(beside) if beside.exists() else shutil.which("redis-server")
    if not found:
        pytest.exit("no redis-server found: install the requirements or put one on PATH", returncode=2)
    return found


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[databases.SHARED_FOLDER] = f"{_folder}/shared"  # workers of xdist inherit it
        os.mkdir(os.environ[databases.SHARED_FOLDER])
    config.redis_process = subprocess.Popen(  # type: ignore[attr-defined]  # ours
        [
            redis_server(),
            "--port",
            "0",
            "--unixsocket",
            _SOCKET,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            _folder,
        ],
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: os.path.exists(_SOCKET), 60, "the tests' own Redis starts")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.redis_process.terminate()  # type: ignore[attr-defined]  # ours
    config.redis_process.wait(10)  # type: ignore[attr-defined]  # ours
    shutil.rmtree(_folder, ignore_errors=True)


E2E = Path(__file__).parent / "e2e"
SHARE_A_SERVER = (E2E / "live", E2E / "pages")
"""Folders whose tests share one running server."""


def _group(path: Path) -> Path:
    """Return what one worker runs as a whole: a folder that shares a server, else a file."""
    return path.parent if path.parent in SHARE_A_SERVER else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for the workers of xdist, and run the longest first, so that none ends last and alone."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(_group(item.path).relative_to(ROOT))))
    items.sort(
        key=lambda item: (
            item.path.parent not in SHARE_A_SERVER,
            not item.path.is_relative_to(E2E),
            item.get_closest_marker("process") is None,
        )
    )


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Begin with a migrated database instead of migrating one in every worker; its folder goes with the run."""
    settings = django_settings.DATABASES["default"]
    if "sqlite" not in settings["ENGINE"]:
        return False
    shutil.copy(databases.migrated(), settings["TEST"]["NAME"])
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> Iterator[None]:
    """Before PostgreSQL drops the tests' database, what threads of ours still hold open there is ended."""
    yield
    from django.db import connection

    if connection.vendor == "postgresql":
        ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        with django_db_blocker.unblock():
            with connection.cursor() as cursor:
                cursor.execute(f"{ours} AND pid <> pg_backend_pid()")
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL has one


@pytest.fixture(autouse=True, scope="session")
def no_metrics_thread() -> None:
    """Keep the metrics of this process to itself: they would land among the Redis names of a later test."""
    from stocksblitz.observability import aggregation

    aggregation.started.set()


@pytest.fixture(autouse=True)
def namespace(settings) -> str:
    """Redis names that no other test uses."""
    settings.REDIS_NAMESPACE = f"t{uuid.uuid4().hex[:10]}:"
    return settings.REDIS_NAMESPACE


@pytest.fixture
def keys(namespace):
    from stocksblitz.redis.client import current_keys

    return current_keys()


@pytest.fixture
def redis(namespace) -> Iterator[object]:
    """A plain synchronous client of the tests' Redis."""
    import redis as redis_py

    client = redis_py.Redis.from_url(os.environ["REDIS_URL"])
    yield client
    client.close()


@pytest.fixture
async def aredis(namespace):
    from stocksblitz.redis.client import connect

    client = connect()
    yield client
    await client.aclose()


PATIENCE_S = 30.0
"""How long what must happen may take on a slow and busy machine; a test waits only as long as it has to."""
type What = str | Callable[[], str]
"""What a test waits for, as its failure names it; a function is asked when the time is over."""


def _fail(timeout: float, what: What, predicate: object) -> NoReturn:
    text = what() if callable(what) else what
    pytest.fail(f"did not happen within {timeout} s: {text or predicate}")


def eventually(predicate: Callable[[], object], timeout: float = PATIENCE_S, what: What = "") -> object:
    """Wait until the predicate holds; its last value is returned."""
    deadline, pause = time.monotonic() + timeout, 0.001
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            _fail(timeout, what, predicate)
        time.sleep(pause := min(0.02, pause * 1.5))  # polling


async def aeventually(
    predicate: Callable[[], object], timeout: float = PATIENCE_S, what: What = ""
) -> object:
    """The same in a coroutine; the predicate may be a coroutine function."""
    deadline, pause = time.monotonic() + timeout, 0.001
    while True:
        value = predicate()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            _fail(timeout, what, predicate)
        await asyncio.sleep(pause := min(0.02, pause * 1.5))  # polling


def stays(predicate: Callable[[], object], seconds: float, what: str = "") -> None:
    """Watch that the predicate holds for so long: something that must not happen has the time to happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert predicate(), what or predicate
        time.sleep(0.02)  # polling


def takes_less(seconds: float, measure: Callable[[], float]) -> None:
    """Measure, again and again if need be, until it took less: what else a machine does only adds to a time."""
    took: list[float] = []

    def less() -> bool:
        took.append(measure())
        return took[-1] < seconds

    try:
        eventually(less, 300, f"less than {seconds} s")
    finally:
        print("took, in s:", took)


async def atakes_less(seconds: float, measure: Callable[[], Awaitable[float]]) -> None:
    """The same in a coroutine."""
    took: list[float] = []

    async def less() -> bool:
        took.append(await measure())
        return took[-1] < seconds

    try:
        await aeventually(less, 300, f"less than {seconds} s")
    finally:
        print("took, in s:", took)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real market data; needed where CI says so, else its tests are skipped."""
    if not DATA.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{DATA} is missing")
        pytest.skip(f"{DATA} is missing")
    return DATA
