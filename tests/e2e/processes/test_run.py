"""``manage.py run``: ready, restarted, refused; always with the real processes."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from stocksblitz.devserver.embedded_redis import LONGEST_SOCKET_PATH, socket_path
from tests.conftest import eventually
from tests.e2e.stack import PROCESSES, ROOT, Stack, free_port

pytestmark = pytest.mark.process


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
