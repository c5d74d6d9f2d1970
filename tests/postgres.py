"""A PostgreSQL of a test's own, to be killed and started again."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bench.postgres import Cluster, binaries
from tests.conftest import eventually


class Server:
    """A running server; ``kill`` is -9 to it, and what it ran goes with it."""

    def __init__(self, folder: Path) -> None:
        self._cluster = Cluster(folder)
        self._log = (folder / "postgres.log").open("wb")
        self._process: subprocess.Popen | None = None
        self.url = self._cluster.url
        self.start()

    def start(self) -> None:
        """Start it, again where an orphan of the one before still holds its memory."""

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(self._cluster.command, stdout=self._log, stderr=self._log)
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(answers, 60, "PostgreSQL answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()  # waits for no client to leave for long: they are gone
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


@pytest.fixture(name="postgres")
def running() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql that root may run as nobody")
    folder = Path(tempfile.mkdtemp(prefix="sb-pg-", dir="/tmp"))
    server = Server(folder)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)
