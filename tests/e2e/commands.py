"""Helpers of the tests of ``manage.py run``: its /readyz, and the output of one that does not start."""

import contextlib
import os
import subprocess
import sys

import httpx

from tests.e2e.stack import ROOT, Stack


def readyz(stack: Stack) -> int:
    """The status of /readyz; 0 when nobody answers."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{stack.url}/readyz", timeout=30, trust_env=False).status_code
    return 0


def refused(**env: str) -> str:
    """What ``manage.py run`` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "manage.py", "run"],
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip()
