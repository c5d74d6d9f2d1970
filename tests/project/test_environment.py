"""``scripts/venv`` with fake interpreters: which Python it uses, when it installs, what it prints."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stack import ROOT

TOOLS = ("sh", "basename", "cat", "cksum", "cp", "dirname", "flock", "mkdir", "rm")
PRETENDER = """#!/bin/sh
# Answers as Python {version} would to what the script asks; notes each installation.
case "$1" in
    --version) echo "Python {version}" ;;
    -c) case "$2" in
            *"!= (3, "*) case "$2" in *"({pair})"*) exit {fits} ;; *) exit 1 ;; esac ;;
        esac ;;
    -m) case "$2" in
            venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
            pip) echo installed >>installations ;;
        esac ;;
esac
"""


class Machine:
    """A folder with the script, and a PATH and a HOME with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.project, self.path, self.home = folder / "a project", folder / "bin", folder / "home"
        for each in (self.project / "scripts", self.path, self.home):
            each.mkdir(parents=True)
        shutil.copy(ROOT / "scripts/venv", self.project / "scripts/venv")
        for name in ("requirements.txt", "requirements-dev.txt"):
            (self.project / name).write_text(f"# {name}\n")
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.path / tool).symlink_to(found)

    def put(self, where: Path, version: str, fits: bool = True) -> Path:
        where.parent.mkdir(parents=True, exist_ok=True)
        pair = ", ".join(version.split(".")[:2])
        where.write_text(PRETENDER.format(version=version, pair=pair, fits=0 if fits else 1))
        where.chmod(0o755)
        return where

    def run(self, requirements: str = "requirements.txt", **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["sh", "scripts/venv", requirements],
            cwd=self.project,
            env={"PATH": str(self.path), "HOME": str(self.home), **env},
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def installations(self) -> int:
        noted = self.project / "installations"
        return len(noted.read_text().splitlines()) if noted.exists() else 0


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["python3.12", "python3", "python"])
def test_python_3_12_on_the_path_is_used(machine, name):
    python = machine.put(machine.path / name, "3.12.7")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert f"Making .venv with Python 3.12.7 ({python})" in done.stdout
    assert machine.installations == 1


@pytest.mark.parametrize("folder", [".pyenv/versions/3.12.1", "elsewhere/versions/3.12.1"])
def test_python_3_12_of_pyenv_is_found(machine, folder):
    python = machine.put(machine.home / folder / "bin/python", "3.12.1")
    root = {} if folder.startswith(".pyenv") else {"PYENV_ROOT": str(machine.home / "elsewhere")}
    done = machine.run(**root)
    assert done.returncode == 0, done.stderr
    assert str(python) in done.stdout


def test_a_shim_that_only_says_what_it_would_do_is_passed_over(machine):
    machine.put(machine.path / "python3.12", "3.12.1", fits=False)
    python = machine.put(machine.home / ".pyenv/versions/3.12.1/bin/python", "3.12.1")
    assert str(python) in machine.run().stdout


def test_3_12_comes_before_3_13(machine):
    machine.put(machine.path / "python3", "3.13.2")
    machine.put(machine.path / "redis-server", "0")
    python = machine.put(machine.home / ".pyenv/versions/3.12.1/bin/python", "3.12.1")
    assert str(python) in machine.run().stdout


def test_3_13_needs_a_redis_server(machine):
    machine.put(machine.path / "python3.13", "3.13.2")
    refused = machine.run()
    assert refused.returncode == 1
    assert "Python 3.13 and a redis-server on PATH" in refused.stderr
    assert machine.run(REDIS_URL="redis://127.0.0.1").returncode == 0


def test_3_13_is_used_where_there_is_a_redis_server(machine):
    machine.put(machine.path / "python3.13", "3.13.2")
    machine.put(machine.path / "redis-server", "0")
    assert "Python 3.13.2" in machine.run().stdout


@pytest.mark.parametrize("version", ["3.11.9", "3.14.0", None])
def test_the_script_says_what_it_needs_when_no_python_fits(machine, version):
    if version:
        machine.put(machine.path / "python3", version)
    done = machine.run()
    assert done.returncode == 1
    assert "StocksBlitz needs one of" in done.stderr
    assert not (machine.project / ".venv").exists()


def test_a_second_run_does_nothing(machine):
    machine.put(machine.path / "python3.12", "3.12.7")
    machine.run()
    again = machine.run()
    assert (again.returncode, again.stdout) == (0, "")
    assert machine.installations == 1


def test_changed_requirements_are_installed_again(machine):
    machine.put(machine.path / "python3.12", "3.12.7")
    machine.run()
    (machine.project / "requirements.txt").write_text("django\n")
    assert "Making" not in machine.run().stdout
    assert machine.installations == 2


def test_the_requirements_of_tests_contain_those_of_the_server(machine):
    machine.put(machine.path / "python3.12", "3.12.7")
    machine.run("requirements-dev.txt")
    machine.run("requirements.txt")
    assert machine.installations == 1


def test_an_environment_without_its_python_is_made_again(machine):
    machine.put(machine.path / "python3.12", "3.12.7")
    machine.run()
    (machine.project / ".venv/bin/python").unlink()
    assert "Making .venv" in machine.run().stdout
    assert machine.installations == 2


def test_a_failed_installation_is_repeated(machine):
    python = machine.put(machine.path / "python3.12", "3.12.7")
    python.write_text(python.read_text().replace("pip) echo", "pip) exit 1; echo"))
    assert machine.run().returncode != 0
    machine.put(machine.project / ".venv/bin/python", "3.12.7")
    assert "Installing" in machine.run().stdout
    assert machine.installations == 1


def test_two_runs_at_a_time_wait_for_each_other(machine):
    if not shutil.which("flock"):
        pytest.skip("there is no flock here")
    python = machine.put(machine.path / "python3.12", "3.12.7")
    python.write_text(
        python.read_text().replace("pip) echo", "pip) mkdir lock && cat pipe && rm -r lock; echo")
    )
    os.mkfifo(machine.project / "pipe")
    command = ["sh", "scripts/venv", "requirements.txt"]
    env = {"PATH": str(machine.path), "HOME": str(machine.home)}
    both = [subprocess.Popen(command, cwd=machine.project, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    (machine.project / "pipe").write_text("go on")
    assert [each.wait(30) for each in both] == [0, 0]
    assert machine.installations == 1
    for each in both:
        each.stdout.close()
