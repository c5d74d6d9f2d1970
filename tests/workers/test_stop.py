"""A worker that was told to stop ends in its time, whatever hangs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py
from django.db import connection

from tests.conftest import eventually, redis_server

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
WORKERS = {"compute": "compute_indicators", "feed": "run_feed", "portfolio": "listen_portfolio"}

HANGS = """
import asyncio, threading, time
import stocksblitz.workers.runtime
stocksblitz.workers.runtime.STOP_S = 0.5

async def main():
    with stocksblitz.workers.runtime.stop_event() as stop:
        print("ready", flush=True)
        {}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("await stop.wait()", 0),
        ("await stop.wait(); await asyncio.sleep(1000)", 1),
        ("await stop.wait(); threading.Thread(target=time.sleep, args=(1000,)).start()", 1),
        ("await asyncio.to_thread(time.sleep, 1000)", 1),
        ("time.sleep(1000)", 1),
        ("[None for _ in iter(int, 1)]", 1),
    ],
    ids=["nothing", "a task", "a thread", "a call in a thread", "the loop", "the loop at work"],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whatever_hangs_the_process_ends(body, code, number):
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS.format(body)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code, told
    assert ("(most recent call first)" in told) == bool(code)


@pytest.fixture
def own_redis(tmp_path):
    """A Redis that the test may freeze."""
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(
        [redis_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    client = redis_py.Redis(unix_socket_path=str(path))
    eventually(path.exists, 20)
    yield process, client, f"unix://{path}"
    process.kill()
    process.wait(10)


@pytest.mark.django_db(transaction=True)
def test_workers_end_though_redis_hangs(own_redis, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("the processes share a database file")
    server, client, url = own_redis
    env = {
        **os.environ,
        "REDIS_URL": url,
        "REDIS_NAMESPACE": "",
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "STOCKSBLITZ_DATA": str(tmp_path),
        "FEED": "simulated?symbols=BTCUSD",
        "DEBUG": "1",
    }
    running = [
        subprocess.Popen([sys.executable, "manage.py", command], cwd=ROOT, env=env)
        for command in WORKERS.values()
    ]
    try:
        for kind in WORKERS:
            eventually(lambda kind=kind: client.zcard(f"mock:sb:workers:{kind}"), 240, f"{kind} lives")
        server.send_signal(signal.SIGSTOP)
        for process in running:
            process.terminate()
        for process in running:
            process.wait(40)
    finally:
        server.send_signal(signal.SIGCONT)
        for process in running:
            process.kill()
            process.wait(10)
