"""``manage.py run``: ready, restarted, stopped, refused; always with the real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from stocksblitz.embedded import LONGEST_SOCKET_PATH, socket_path
from tests.conftest import eventually, takes_less
from tests.e2e.stack import ROOT, Stack, free_port

pytestmark = pytest.mark.process

PROCESSES = {"redis", "web", "feed", "compute", "portfolio"}


def gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def all_gone(processes: list[psutil.Process]) -> bool:
    return all(gone(each) for each in processes)


def readyz(stack: Stack) -> int:
    """The status of /readyz; 0 when nobody answers."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{stack.url}/readyz", timeout=30, trust_env=False).status_code
    return 0


def test_it_serves_when_it_says_so_and_names_its_processes(live_stack):
    assert readyz(live_stack) == 200
    assert httpx.get(f"{live_stack.url}/healthz", timeout=30, trust_env=False).status_code == 200
    assert set(live_stack.pids()) == PROCESSES
    assert f"StocksBlitz is ready at {live_stack.url}" in live_stack.log.splitlines()


def test_the_past_is_there_as_soon_as_it_is_ready(stack):
    running = stack(FEED="simulated").start().wait_ready()
    login = {"username": "demo", "password": "demo"}
    token = httpx.post(f"{running.url}/auth/token", json=login, timeout=30, trust_env=False).json()["access"]
    asked = {"headers": {"Authorization": f"Bearer {token}"}, "trust_env": False, "timeout": 30}
    symbols = httpx.get(f"{running.url}/api/market/symbols", **asked).json()["symbols"]
    assert len(symbols) >= 10
    for each in symbols:
        reply = httpx.get(
            f"{running.url}/api/market/{each['symbol']}/bars?timeframe=5min&limit=1500", **asked
        )
        assert len(reply.json()["bars"]) == 1500, each["symbol"]


def test_it_listens_on_loopback_alone(live_stack):
    listening = [
        each.laddr.ip
        for process in live_stack.family()
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["portfolio", "feed", "compute", "web", "redis"])
def test_a_killed_process_is_started_again(live_stack, name):
    killed = live_stack.kill(name)
    eventually(lambda: live_stack.pids().get(name, killed) != killed, what=f"{name} with another pid")
    eventually(lambda: set(live_stack.pids()) == PROCESSES and readyz(live_stack) == 200, what="ready again")


def test_sigterm_stops_all_and_a_second_start_is_quick(stack):
    first = stack().start().wait_ready()
    family = first.family()
    assert len(family) > len(PROCESSES)
    assert first.stop() == 0
    assert all_gone(family)
    assert "did not stop" not in first.log

    def start_again():
        began = time.monotonic()
        again = stack(STOCKSBLITZ_DATA=str(first.data), PORT=str(first.port)).start().wait_ready()
        took = time.monotonic() - began
        assert again.stop() == 0
        return took

    takes_less(15, start_again)


def test_sigint_stops_all_and_twice_at_once_is_one(stack):
    running = stack().start().wait_ready()
    family = running.family()
    running.process.send_signal(signal.SIGINT)
    assert running.stop(signal.SIGINT) == 0
    assert all_gone(family)
    assert "did not stop" not in running.log


def test_a_stop_while_it_starts_leaves_nothing(stack):
    starting = stack().start()
    eventually((starting.data / "run.json").exists)
    family = starting.family()
    assert starting.stop() == 0
    assert all_gone(family)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_killing_the_supervisor_leaves_nothing(stack):
    running = stack().start().wait_ready()
    family = running.family()
    assert running.process is not None
    running.process.kill()
    running.process.wait()
    eventually(lambda: all_gone(family))
    again = stack(STOCKSBLITZ_DATA=str(running.data)).start().wait_ready()
    assert again.stop() == 0


def make(running: Stack) -> subprocess.Popen:
    """``make run`` with the environment of a stack, its output in the stack's log."""
    with running.log_path.open("ab") as log:
        return subprocess.Popen(
            ["make", "--silent", "run"],
            cwd=ROOT,
            env=running.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopping_make_alone_stops_all(stack, number):
    running = stack()
    running.process = make(running)
    running.wait_ready()
    family = running.family()
    running.process.send_signal(number)
    running.process.wait(60)
    eventually(lambda: all_gone(family))


def refused(**env: str) -> str:
    """What ``manage.py run`` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "manage.py", "run"],
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_a_taken_port_is_refused_at_once(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(PORT=str(port), STOCKSBLITZ_DATA=str(tmp_path))
    assert f"port {port} cannot be used" in said
    assert "set PORT" in said


def test_a_folder_in_use_is_refused(live_stack):
    said = refused(PORT=str(free_port()), STOCKSBLITZ_DATA=str(live_stack.data))
    assert f"StocksBlitz runs with {live_stack.data} already" in said


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FEED", "bogus", "FEED begins with one of"),
        ("PORT", "http", "PORT must be a whole number"),
        ("DEBUG", "0", "SECRET_KEY"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "Redis does not answer"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none", "the database does not work"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(tmp_path, name, value, expected):
    env = {"PORT": str(free_port()), "STOCKSBLITZ_DATA": str(tmp_path), name: value}
    assert expected in refused(**env)


def test_two_installations_live_side_by_side_and_names_may_be_awkward(live_stack, stack, tmp_path):
    data = tmp_path / "a folder with spaces, 100 % and ünïcode#?"
    other = stack(STOCKSBLITZ_DATA=str(data)).start().wait_ready()
    assert readyz(live_stack) == readyz(other) == 200
    assert not set(live_stack.pids().values()) & set(other.pids().values())


def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(stack, tmp_path):
    data = tmp_path / ("deep" * 25) / ("er" * 50)
    assert not socket_path(data).is_relative_to(data)
    assert len(os.fsencode(socket_path(data))) <= LONGEST_SOCKET_PATH
    running = stack(STOCKSBLITZ_DATA=str(data)).start().wait_ready()
    assert readyz(running) == 200


def test_a_server_given_by_its_address_is_used_and_left_alone(stack):
    running = (
        stack(REDIS_URL=os.environ["REDIS_URL"], REDIS_NAMESPACE=f"run{os.getpid()}:").start().wait_ready()
    )
    assert "redis" not in running.pids()
    assert not Path(running.data, "redis.sock").exists()
