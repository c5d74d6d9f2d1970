"""The whole of StocksBlitz as one command: what must be there before it starts, and when it is ready."""

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from django.conf import settings
from django.core.management import call_command, get_commands
from django.db import DatabaseError, connections
from redis.exceptions import RedisError

from stocksblitz.devserver import embedded_redis
from stocksblitz.devserver.supervisor import Console, Program, Supervisor, die_with_parent, read_procfile
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.workers.runtime import STOP_SIGNALS, WORKERS, wait

STOP_DEADLINE_S = 12.0
"""A little longer than the web server gives its own connections."""
REDIS_DEADLINE_S = 10.0
EMBEDDED_REDIS_DEADLINE_S = 60.0
"""Our own is there; it may have much to read from its disk."""
REMINDER_S = 15.0
ONE_REQUEST_S = 1.0
"""Stop signals this close together are one: a process group gets them, and ``make`` hands them on as well."""


class LaunchError(Exception):
    """Nothing was started; the message says why and what to do."""


@contextlib.contextmanager
def claim(data: Path) -> Iterator[None]:
    """Hold the data folder for ourselves; LaunchError when another process has it or it cannot be written."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data / "run.lock").open("a")
    except OSError as error:
        raise LaunchError(f"STOCKSBLITZ_DATA={data} cannot be used: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(
                f"StocksBlitz runs with {data} already: stop it, or set STOCKSBLITZ_DATA to another folder"
            ) from None
        try:
            yield
        finally:
            (data / "run.json").unlink(missing_ok=True)


def check_port(port: int) -> None:
    """LaunchError unless we could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise LaunchError(f"port {port} cannot be used ({error}): set PORT to a free one") from error


def environment() -> dict[str, str]:
    """What each process is given: our own environment with what was decided here spelled out."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PORT": str(settings.PORT),
        "STOCKSBLITZ_DATA": str(settings.DATA_DIR),
        "REDIS_URL": settings.REDIS_URL,
        "PYTHONUNBUFFERED": "1",
    }


def redis_program() -> Program:
    """The embedded Redis; LaunchError where there is no server to be found."""
    server = embedded_redis.find_server()
    if server is None:
        raise LaunchError(
            "no redis-server found: install Redis 6.2 or newer, or set REDIS_URL to a running one"
        )
    try:
        embedded_redis.make_folder(settings.DATA_DIR)
    except OSError as error:
        raise LaunchError(f"the folder of Redis' socket cannot be used: {error}") from error
    return Program("redis", embedded_redis.command(server, settings.DATA_DIR))


async def redis_answers(stop: asyncio.Event, deadline_s: float, where: str) -> None:
    """Wait for Redis; LaunchError when it does not answer within the deadline, with where to look for the reason."""
    deadline = time.monotonic() + deadline_s
    async with contextlib.aclosing(connect()) as client:
        while not stop.is_set():
            try:
                await client.ping()
                return
            except (RedisError, OSError) as error:
                if time.monotonic() > deadline:
                    raise LaunchError(f"Redis does not answer: {error}; see {where}") from error
            await wait(stop, 0.02)


async def forget_workers() -> None:
    """Nobody works with a Redis that has just started: heartbeats that it kept are of processes that ended."""
    async with contextlib.aclosing(connect()) as client:
        for kind in WORKERS:
            await client.delete(current_keys().workers(kind))


def prepare() -> None:
    """Bring the database up to date and, in development, create its users."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
        if settings.DEBUG and "seed_demo" in get_commands():
            call_command("seed_demo", verbosity=0)
    except DatabaseError as error:
        raise LaunchError(f"the database does not work: {error}; see DATABASE_URL") from error
    finally:
        connections.close_all()


def _host() -> str:
    """A name that the server lets itself be called by."""
    allowed = [host for host in settings.ALLOWED_HOSTS if host != "*"]
    return allowed[0].lstrip(".") if allowed else "localhost"


async def becomes_ready(stop: asyncio.Event, console: Console) -> None:
    """Wait until the server says that it serves; tell what it still waits for now and then."""
    url, remind = f"http://127.0.0.1:{settings.PORT}/readyz", time.monotonic() + REMINDER_S
    async with httpx.AsyncClient(trust_env=False, timeout=5, headers={"Host": _host()}) as client:
        while not stop.is_set():
            try:
                answer = await client.get(url)
                if answer.status_code == httpx.codes.OK:
                    return
                state = f"{answer.status_code} {answer.text[:500]}"
            except httpx.HTTPError as error:
                state = str(error)
            if time.monotonic() > remind:
                remind = time.monotonic() + REMINDER_S
                console.say("system", f"not ready yet: {state}")
            await wait(stop, 0.1)


def _caught(pid: int) -> int:
    """The set of signals that a process handles, as a bit mask; 0 when it cannot be known."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
    return 0


async def follow_parent() -> None:
    """Stop when the parent ends, and when it is interrupted.

    ``make`` hands SIGTERM on to us, but not a SIGINT that was sent to it alone: it takes its handler away and
    waits for us to end. That is what we look for.
    """
    die_with_parent(signal.SIGTERM)
    parent, interrupt = os.getppid(), 1 << (signal.SIGINT - 1)
    handled = _caught(parent) & interrupt
    while handled and _caught(parent) & interrupt:  # noqa: ASYNC110  (another process sets no event)
        await asyncio.sleep(0.2)
    if handled:
        signal.raise_signal(signal.SIGINT)


def allow_many_sockets() -> None:
    """Raise the limit of open files as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Yield an event set by the first SIGTERM or SIGINT; when another one comes later, ``hurry`` is called."""
    loop, stop, first = asyncio.get_running_loop(), asyncio.Event(), 0.0

    def request() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            stop.set()
        elif loop.time() - first > ONE_REQUEST_S:
            hurry()

    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, request)
    try:
        yield stop
    finally:
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)


async def _start(supervisor: Supervisor, console: Console, stop: asyncio.Event) -> None:
    if os.environ.get("REDIS_URL"):
        await redis_answers(stop, REDIS_DEADLINE_S, "REDIS_URL")
    else:
        supervisor.start([redis_program()])
        await redis_answers(stop, EMBEDDED_REDIS_DEADLINE_S, str(settings.DATA_DIR / embedded_redis.LOG))
        if not stop.is_set():
            await forget_workers()
    if not stop.is_set():
        await asyncio.to_thread(prepare)
    if not stop.is_set():
        supervisor.start(read_procfile((settings.BASE_DIR / "Procfile").read_text()))
        await becomes_ready(stop, console)
    if not stop.is_set():
        console.line(f"StocksBlitz is ready at http://127.0.0.1:{settings.PORT}")


async def run_all(console: Console, *, with_parent: bool) -> None:
    """Start everything, keep it running, and stop it at the first SIGTERM or SIGINT."""

    def note(pids: dict[str, int]) -> None:
        state = {"pid": os.getpid(), "url": f"http://127.0.0.1:{settings.PORT}", "processes": pids}
        part = settings.DATA_DIR / "run.json.part"
        part.write_text(json.dumps(state))
        part.replace(settings.DATA_DIR / "run.json")

    supervisor = Supervisor(console, environment(), settings.BASE_DIR, note)
    with stop_signals(supervisor.kill) as stop:
        follower = asyncio.create_task(follow_parent()) if with_parent else None
        try:
            await _start(supervisor, console, stop)
            await stop.wait()
            console.say("system", "stopping")
        finally:
            if follower:
                follower.cancel()
            await supervisor.stop(STOP_DEADLINE_S)


def launch(console: Console, *, with_parent: bool) -> None:
    """Run all of StocksBlitz until it is told to stop; LaunchError when it cannot be started."""
    with claim(settings.DATA_DIR):
        check_port(settings.PORT)
        allow_many_sockets()
        asyncio.run(run_all(console, with_parent=with_parent))
