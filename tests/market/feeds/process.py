"""Real feed processes on the tests' Redis and database."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.db import connection

ROOT = Path(__file__).resolve().parents[3]


def database_url():
    """The URL of the tests' own database."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def start(setting, namespace, arguments=(), **environment):
    """A `run_feed` of its own."""
    variables = {**os.environ, "DATABASE_URL": database_url(), "FEED": setting, "REDIS_NAMESPACE": namespace}
    return subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", *arguments],
        cwd=ROOT,
        env={**variables, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def feed(setting, namespace, **environment):
    """A feed that does not outlive the block."""
    process = start(setting, namespace, **environment)
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    """End it without a chance to say goodbye."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
