"""Real feed processes."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def feed(setting, namespace, **environment):
    """A `run_feed` of its own; killed at the end if it still lives."""
    process = start(setting, namespace, **environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def start(setting, namespace, **environment):
    variables = {**os.environ, "FEED": setting, "REDIS_NAMESPACE": namespace, **environment}
    return subprocess.Popen(
        [sys.executable, "manage.py", "run_feed"], cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True
    )


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(10)
