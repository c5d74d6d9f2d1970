"""A thousand ask four web processes for one value that nobody has: it is computed once."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter

import orjson
import pytest
from django.db import connection

from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
from tests.conftest import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

PROCESSES, CALLERS = 4, 1000
PATH = "/indicators/BTCUSD/current?timeframe=1min&indicators="


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(namespace):
    """Starts a process that shares the test's database and its names in Redis."""
    running = []
    env = {
        **os.environ,
        "REDIS_NAMESPACE": namespace,
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "DEBUG": "1",
        "COMPUTE_WAIT_MS": "60000",  # what is asked is whether all are answered, not how fast this machine is
    }

    def run(*command):
        running.append(subprocess.Popen([sys.executable, "-m", *command], env=env))
        return running[-1]

    yield run
    for process in running:
        process.kill()
    for process in running:
        process.wait(10)


@pytest.fixture
def ports(start, market):
    if connection.vendor != "sqlite":
        pytest.skip("the processes share a database file")
    found = [free_port() for _ in range(PROCESSES)]
    for port in found:
        start(
            "uvicorn",
            "stocksblitz.asgi:application",
            "--port",
            str(port),
            "--lifespan",
            "off",
            "--log-level",
            "error",
        )
    for port in found:
        eventually(lambda port=port: listening(port), timeout=60)
    return found


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def ask(port, token, indicator="RSI_14"):
    """Status, outcome and value."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"Host: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close"
    request = f"GET {PATH}{indicator} HTTP/1.1\r\n{head}\r\n\r\n"
    writer.write(request.encode())
    top, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status = int(top.split()[1])
    if status != 200:
        return status, body.decode(), None
    outcome = top.lower().partition(b"x-cache: ")[2].split()[0].decode()
    return status, outcome, orjson.loads(body)["indicators"][indicator]["value"]


async def all_ask(ports, token, meanwhile=None, indicator="RSI_14"):
    asking = [
        asyncio.create_task(ask(ports[number % len(ports)], token, indicator)) for number in range(CALLERS)
    ]
    if meanwhile:
        await asyncio.to_thread(meanwhile)
    return await asyncio.gather(*asking)


def token_of(user):
    return tokens.issue(Login.objects.create(user=user))["access"]


def test_one_computation_however_many_ask(ports, start, alice, redis, keys):
    token = token_of(alice)
    start("tests.indicators.reads.counting_worker", "2")
    eventually(lambda: redis.zcard(keys.workers("compute")), timeout=30)
    answers = asyncio.run(all_ask(ports, token))
    assert Counter(answers).keys() <= {(200, outcome, 42.5) for outcome in ("miss", "wait", "hit")}, Counter(
        answers
    )
    assert redis.get(keys.name("counted")) == b"1"


def test_a_worker_killed_in_the_middle_costs_one_more_at_most(ports, start, alice, redis, keys):
    token = token_of(alice)
    dying = start("tests.indicators.reads.counting_worker", "60")
    eventually(lambda: redis.zcard(keys.workers("compute")), timeout=30)

    def kill():
        eventually(lambda: redis.get(keys.name("counted")) == b"1")
        start("tests.indicators.reads.counting_worker", "0.1")
        eventually(lambda: redis.zcard(keys.workers("compute")) == 2)
        dying.send_signal(signal.SIGKILL)

    answers = asyncio.run(all_ask(ports, token, kill))
    assert Counter((status, value) for status, _, value in answers) == {(200, 42.5): CALLERS}, answers[:3]
    assert int(redis.get(keys.name("counted"))) == 2
