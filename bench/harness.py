"""Start real processes on the loopback (a private Redis, web servers, workers) and measure their CPU and memory.

Every process that a `Rig` starts is stopped with it, and its folder is removed. All sockets are bound to 127.0.0.1
or to unix sockets.
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
"""Seconds after which a process that does not answer counts as failed."""
STOP_S = 10.0
"""Seconds that a process may take to stop before it is killed."""


class NotStarted(RuntimeError):
    """Failure of a process that ended early or did not answer in time; the message holds the end of its log."""


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether a process accepts connections on that port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def raise_file_limit(wanted: int = 20_000) -> int:
    """Raise the limit of open files for this process and its children; return the limit that the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass
class Process:
    """Running process that leads its own process group, so that a stop signal reaches its children too."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    worker: int = 0
    """Id of the child process that does the work, for a server that forks one (nginx); else 0."""

    @property
    def pid(self) -> int:
        """Return the id of the process that does the work."""
        return self.worker or self.popen.pid

    def cpu_s(self) -> float:
        """Return the CPU seconds (user and system) that all its threads have used, with nanosecond resolution."""
        return time.clock_gettime(cpu_clock(self.pid))

    def pin(self, cores: set[int]) -> None:
        """Restrict all its threads to these cores."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)

    def resident_bytes(self) -> int:
        """Return the resident memory of the process in bytes."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()

    def check(self) -> None:
        """Raise NotStarted when the process has ended."""
        if self.popen.poll() is not None:
            raise NotStarted(f"{self.name} ended:\n{self.log_end()}")

    def wait_until(self, ready: Callable[[], bool], timeout: float = START_S) -> "Process":
        """Wait until ``ready`` returns true; raise NotStarted when the process ends first or the time is over."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} did not answer within {timeout} s:\n{self.log_end()}")
            time.sleep(0.02)
        return self

    def log_end(self) -> str:
        """Return the last 3,000 characters of the log."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Send SIGTERM, wait, then kill the whole process group."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_S)
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


def cpu_clock(pid: int) -> int:
    """Return the id of another process's CPU clock, computed as clock_getcpuclockid(3) does on Linux."""
    return (~pid << 3) | 2


def end_with_us() -> None:
    """Make this child process end when the benchmark ends; it runs in the child before its program is executed."""
    die_with_parent(signal.SIGTERM)


@dataclass
class Rig:
    """Folder, environment and processes of one benchmark."""

    folder: Path
    env: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        """Return the address of the benchmark's Redis."""
        return self.env["REDIS_URL"]

    def start(
        self, name: str, argv: list[str], *, port: int = 0, env: dict[str, str] | None = None
    ) -> Process:
        """Start a command whose output goes into a log file of the folder."""
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
        """Start a Python command with this interpreter."""
        return self.start(name, [sys.executable, *argv], port=port, env=env)

    def call(self, *argv: str) -> str:
        """Run a Python command to its end and return its output; raise NotStarted when it fails."""
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
        """Wait until the process accepts connections on its port."""
        return process.wait_until(lambda: answers(process.port))

    def show_logs(self) -> None:
        """Print the end of each process's log on stderr, for the search for the cause of a failure."""
        for process in self.processes:
            if process.name != "redis" and (log := process.log_end().strip()):
                print(f"--- {process.name}\n{log}", file=sys.stderr)

    def stop(self) -> None:
        """Stop all processes, the newest first."""
        for process in reversed(self.processes):
            process.signal(signal.SIGTERM)
        for process in reversed(self.processes):
            process.stop()


def redis_server() -> str:
    """Return the path of the embedded redis-server beside this Python, else of the one on PATH."""
    beside = Path(sys.executable).parent / "redis-server"
    found = str(beside) if beside.exists() else shutil.which("redis-server")
    if not found:
        raise NotStarted("redis-server was not found: install the requirements or put one on PATH")
    return found


@contextlib.contextmanager
def rig(**env: str) -> Iterator[Rig]:
    """Yield a `Rig`: a new folder with a running Redis, and an environment that points every process to it."""
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
        "DEBUG": "0",  # with DEBUG=1 Django records every query
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": LOOPBACK,
        "SECURE_COOKIES": "0",
    }
    rig = Rig(folder, {**os.environ, **settings, **env})
    try:
        argv = [redis_server(), "--port", "0", "--unixsocket", str(sock), "--save", "", "--appendonly", "no"]
        rig.start("redis", [*argv, "--dir", str(folder)]).wait_until(sock.exists)
        yield rig
    except BaseException:
        rig.show_logs()
        raise
    finally:
        rig.stop()
        shutil.rmtree(folder, ignore_errors=True)
