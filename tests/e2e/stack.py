"""A whole server for tests: ``manage.py run`` in a folder and on a port of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from stocksblitz.devserver.embedded_redis import socket_path
from tests import databases
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_INHERITED = ("REDIS_URL", "DATABASE_URL", "REDIS_NAMESPACE", "STOCKSBLITZ_DATA", "FEED", "PORT", "DEBUG")
PROCESSES = {"redis", "web", "feed", "compute", "portfolio"}
READY_S = 300
"""How long a server may take to start on a busy machine; an idle one needs five."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    """All processes of StocksBlitz under their supervisor.

    Addresses: ``url``, ``ws_url``, ``port``. Where it lives: ``data``, ``env``, ``log_path`` (its output).
    """

    def __init__(self, **env: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sb-e2e-"))
        self.port = int(env.get("PORT") or free_port())
        self.data = Path(env.get("STOCKSBLITZ_DATA") or self.folder / "data")
        self.log_path = self.folder / "log.txt"
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        self.env = {
            **inherited,
            "FEED": "simulated?symbols=BTCUSD,EURUSD",  # two instruments have their past sooner than thirteen
            **env,
            "PORT": str(self.port),
            "STOCKSBLITZ_DATA": str(self.data),
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self._log_start = 0
        self.tokens: dict[str, str] = {}
        """A token by user name, for tests that are not about signing in (tabs.py)."""

    def start(self) -> "Stack":
        """Start it without waiting for anything."""
        self._copy_database()
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run", "--with-parent"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def _copy_database(self) -> None:
        """Spare a server in a folder of its own the migrations; folders and databases that a test names begin empty."""
        database = self.data / "stocksblitz.sqlite3"
        if self.data.is_relative_to(self.folder) and "DATABASE_URL" not in self.env and not database.exists():
            self.data.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(databases.with_demo_users(), database)

    def wait_ready(self, timeout: float = READY_S) -> "Stack":
        line = f"StocksBlitz is ready at {self.url}\n"

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            return line in self.log[self._log_start :]

        eventually(ready, timeout, lambda: f"the ready line; so far:\n{self.tail()}")
        return self

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    def pids(self) -> dict[str, int]:
        """Process name (web, feed, compute, portfolio, redis) to process id, of what runs now."""
        return json.loads((self.data / "run.json").read_text())["processes"]

    def kill(self, name: str) -> int:
        """Kill one process with -9; returns the id it had."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything it has started."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM, timeout: float = 180) -> int:
        """Send a signal to the supervisor and return the code it ends with."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it whatever state it is in, and remove its folder: tests of their own look at a stop in good order."""
        if self.process is not None and self.process.poll() is None:
            for each in self.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not (socket := socket_path(self.data)).is_relative_to(self.data):
            shutil.rmtree(socket.parent, ignore_errors=True)
