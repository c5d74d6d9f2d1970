"""Sockets sign in side by side: what the database makes one of them wait for delays no other."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import websockets
from django.contrib.auth.models import User
from django.db import connection

from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
from tests.conftest import PATIENCE_S, ROOT, atakes_less, eventually
from tests.e2e.stack import free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

SOCKETS = 60


def database_url():
    """The address of the tests' database for another process."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def sign_in(name):
    user = User.objects.create_user(name)
    return user, tokens.issue(Login.objects.create(user=user))["access"]


@pytest.fixture
def server(namespace):
    """A web process with a slow database; its address, the token of the slow user and that of another."""
    slow, slow_token = sign_in("slow")
    _, token = sign_in("quick")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "tests.delivery.slow_database:application",
        "--port",
        str(port),
    ]
    command += ["--ws", "stocksblitz.server.websocket:PreframedProtocol", "--lifespan", "off"]
    env = {
        **os.environ,
        "REDIS_NAMESPACE": namespace,
        "DATABASE_URL": database_url(),
        "SLOW_USER": str(slow.pk),
        "WS_MAX_SOCKETS": "1000",
        "DEBUG": "1",
    }
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        eventually(lambda: answers(port), what="the server listens")
        yield f"ws://127.0.0.1:{port}/ws/indicators", slow_token, token
    finally:
        process.kill()
        process.wait(10)


async def opened(url, token):
    headers = {"Authorization": f"Bearer {token}"}
    tab = await websockets.connect(url, additional_headers=headers, open_timeout=PATIENCE_S, proxy=None)
    try:
        assert json.loads(await asyncio.wait_for(tab.recv(), PATIENCE_S))["type"] == "connected"
    except BaseException:
        tab.transport.abort()
        await tab.wait_closed()
        raise
    return tab


async def test_sign_ins_do_not_wait_for_each_other(server):
    url, slow_token, token = server

    async def all_open():
        began = time.monotonic()
        slow = asyncio.create_task(opened(url, slow_token))
        tabs = await asyncio.gather(*[opened(url, token) for _ in range(SOCKETS)])
        took = time.monotonic() - began
        slow.cancel()
        for tab in tabs:
            tab.transport.abort()
        await asyncio.gather(slow, *[tab.wait_closed() for tab in tabs], return_exceptions=True)
        return took

    await atakes_less(
        2, all_open
    )  # one after the other takes more than ten seconds, behind the slow one five
