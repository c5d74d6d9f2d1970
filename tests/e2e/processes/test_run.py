"""``manage.py run`` with wrong settings, in unusual folders, and with a Redis of its own or a given one."""

import os
import socket
from pathlib import Path

import pytest

from stocksblitz.devserver.embedded_redis import LONGEST_SOCKET_PATH, socket_path
from tests.e2e.commands import readyz, refused
from tests.e2e.stack import free_port

pytestmark = pytest.mark.process


def test_a_taken_port_is_refused_at_once(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(PORT=str(port), STOCKSBLITZ_DATA=str(tmp_path))
    assert f"port {port} cannot be used" in said
    assert "set PORT" in said


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


def test_a_folder_too_deep_for_a_socket_has_its_socket_elsewhere(stack, tmp_path):
    data = tmp_path / ("deep" * 25) / ("er" * 50)
    assert not socket_path(data).is_relative_to(data)
    assert len(os.fsencode(socket_path(data))) <= LONGEST_SOCKET_PATH
    running = stack(STOCKSBLITZ_DATA=str(data)).start().wait_ready()
    assert readyz(running) == 200


def test_a_redis_given_by_its_address_is_used_and_not_started(stack):
    running = (
        stack(REDIS_URL=os.environ["REDIS_URL"], REDIS_NAMESPACE=f"run{os.getpid()}:").start().wait_ready()
    )
    assert "redis" not in running.pids()
    assert not Path(running.data, "redis.sock").exists()
