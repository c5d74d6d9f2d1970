"""SQLite databases that are prepared once per run: every worker and every server of the tests begins with a copy."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED_FOLDER = "STOCKSBLITZ_TESTS_SHARED"
"""Environment variable with the folder that all workers of a run share."""


def migrated() -> Path:
    """Return a database with every migration applied."""
    return _prepared("migrated", ["migrate"])


def with_demo_users() -> Path:
    """Return a database as ``manage.py run`` leaves it at its first start."""
    return _prepared("demo", ["migrate"], ["seed_demo"])


def _prepared(name: str, *commands: Sequence[str]) -> Path:
    path = Path(os.environ[SHARED_FOLDER]) / f"{name}.sqlite3"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker prepares it, the others wait
        if not path.exists():
            _run(path.with_suffix(".part"), commands)
            path.with_suffix(".part").rename(path)
    return path


def _run(path: Path, commands: Sequence[Sequence[str]]) -> None:
    env = {**os.environ, "DATABASE_URL": f"sqlite:///{path}"}
    for command in commands:
        subprocess.run(
            [sys.executable, "manage.py", *command, "--verbosity", "0"],
            cwd=ROOT,
            env=env,
            check=True,
            timeout=120,
        )
