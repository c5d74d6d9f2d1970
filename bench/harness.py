"""Real processes on loopback: a Redis of our own, web servers, workers; and what each of them used.

Everything a `Rig` starts ends with it, and its folder goes too. Nothing binds to anything but 127.0.0.1 and
unix sockets.
"""

import contextlib
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stocksblitz.devserver.supervisor import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_S = 60.0
"""A process that does not answer by then has failed to start."""
STOP_S = 10.0


class NotStarted(RuntimeError):
    """A process ended, or did not answer in time; the message holds the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody accepts connections on that port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def raise_file_limit(wanted: int = 20_000) -> int:
    """Allow this process and those it starts so many open files, or as many as the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass
class Process:
    """One running process; it leads a group of its own, so that stopping it reaches its children."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    worker: int = 0
    """The process that does the work, where it is a child of the one started (nginx)."""

    @property
    def pid(self) -> int:
        return self.worker or self.popen.pid

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its threads so far, in nanoseconds' resolution."""
        return time.clock_gettime(cpu_clock(self.pid))

    def pin(self, cores: set[int]) -> None:
        """Run all its threads on these cores from here on."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()

    def check(self) -> None:
        """NotStarted when it has ended."""
        if self.popen.poll() is not None:
            raise NotStarted(f"{self.name} ended:\n{self.log_end()}")

    def wait_until(self, ready: Callable[[], bool], timeout: float = START_S) -> "Process":
        """Wait until it is ready; NotStarted when it ends before, or takes too long."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} does not answer:\n{self.log_end()}")
            time.sleep(0.02)
        return self

    def log_end(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Ask it to stop, then end its whole group."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_S)
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_S)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


def cpu_clock(pid: int) -> int:
    """The id of another process's CPU clock, as clock_getcpuclockid(3) makes it on Linux."""
    return (~pid << 3) | 2


def end_with_us() -> None:
    """However a benchmark ends, what it started ends too (for a child that is still to become its program)."""
    die_with_parent(signal.SIGTERM)


@dataclass
class Rig:
    """A folder, an environment and the processes of one benchmark."""

    folder: Path
    env: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        return self.env["REDIS_URL"]

    def start(
        self, name: str, argv: list[str], *, port: int = 0, env: dict[str, str] | None = None
    ) -> Process:
        log = self.folder / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_us,
            )
        self.processes.append(Process(name, popen, log, port))
        return self.processes[-1]

    def python(self, name: str, *argv: str, port: int = 0, env: dict[str, str] | None = None) -> Process:
        return self.start(name, [sys.executable, *argv], port=port, env=env)

    def call(self, *argv: str) -> str:
        """Run a Python command to its end and return what it printed; NotStarted when it fails."""
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        if done.returncode:
            raise NotStarted(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
        return done.stdout

    def serving(self, process: Process) -> Process:
        return process.wait_until(lambda: answers(process.port))

    def show_logs(self) -> None:
        """What the processes said last, for whoever looks into a failure."""
        for process in self.processes:
            if process.name != "redis" and (said := process.log_end().strip()):
                print(f"--- {process.name}\n{said}", file=sys.stderr)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.signal(signal.SIGTERM)
        for process in reversed(self.processes):
            process.stop()


def redis_server() -> str:
    """The embedded server beside this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / "redis-server"
    found = str(beside) if beside.exists() else shutil.which("redis-server")
    if not found:
        raise NotStarted("no redis-server: install the requirements or put one on PATH")
    return found


@contextlib.contextmanager
def rig(**env: str) -> Iterator[Rig]:
    """A fresh folder with a running Redis in it, and an environment that points everything there."""
    raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    sock = folder / "redis.sock"
    settings = {
        "STOCKSBLITZ_DATA": str(folder),
        "REDIS_URL": f"unix://{sock}",
        "DATABASE_URL": f"sqlite:///{folder}/stocksblitz.sqlite3",
        "LOG_LEVEL": "WARNING",
        "FEED": "external",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "DEBUG": "0",  # in development Django writes down every query
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": LOOPBACK,
        "SECURE_COOKIES": "0",
    }
    made = Rig(folder, {**os.environ, **settings, **env})
    try:
        argv = [redis_server(), "--port", "0", "--unixsocket", str(sock), "--save", "", "--appendonly", "no"]
        made.start("redis", [*argv, "--dir", str(folder)]).wait_until(sock.exists)
        yield made
    except BaseException:
        made.show_logs()
        raise
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
