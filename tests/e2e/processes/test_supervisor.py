"""The supervisor with small programs: restarts, the order of a stop, and no process left behind."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from stocksblitz.devserver.supervisor import Console, Program, Supervisor, read_procfile
from tests.conftest import aeventually, eventually

pytestmark = pytest.mark.process


def python(name: str, code: str) -> Program:
    return Program(name, (sys.executable, "-S", "-c", code))


SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {SLEEPER!r}]); {SLEEPER}"


class Running:
    """A supervisor on an in-memory console."""

    def __init__(self, tmp_path: Path) -> None:
        self.out = io.BytesIO()
        self.console = Console(self.out)
        self.supervisor = Supervisor(self.console, os.environ, tmp_path, lambda pids: None)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().decode().splitlines()

    def said(self, line: str) -> int:
        return self.lines.count(line)


@pytest.fixture
async def running(tmp_path):
    it = Running(tmp_path)
    yield it
    it.supervisor.kill()
    await it.supervisor.stop(30)
    it.console.close()


def test_a_procfile_is_read():
    programs = read_procfile("# comment\n\nweb: serve --at host:80\n  feed : run feed  \n")
    assert [(each.name, each.command[-1]) for each in programs] == [
        ("web", "exec serve --at host:80"),
        ("feed", "exec run feed"),
    ]


async def test_each_line_begins_with_the_name_of_its_program(running):
    running.supervisor.start(
        [python("one", SLEEPER), python("two", f"import sys; sys.stderr.write('oops\\n'); {SLEEPER}")]
    )
    await aeventually(lambda: running.said("one       | up") and running.said("two       | oops"))


async def test_a_program_that_ends_is_restarted_with_growing_pauses(running):
    running.supervisor.start([python("frail", "print('hello', flush=True); raise SystemExit(3)")])
    await aeventually(lambda: running.said("frail     | hello") >= 3)
    notes = [line for line in running.lines if line.startswith("system")]
    assert notes[0] == "system    | frail: ended with code 3; starting it again in 0.2 s"
    assert notes[1] == "system    | frail: ended with code 3; starting it again in 0.4 s"


async def test_a_killed_program_runs_again_with_another_pid(running):
    running.supervisor.start([python("one", SLEEPER)])
    await aeventually(lambda: running.said("one       | up") == 1)
    before = running.supervisor.pids["one"]
    os.kill(before, signal.SIGKILL)
    await aeventually(lambda: running.said("one       | up") == 2)
    assert running.supervisor.pids["one"] != before
    assert "system    | one: killed by SIGKILL; starting it again in 0.2 s" in running.lines


async def test_a_command_that_does_not_exist_is_reported_and_tried_again(running):
    running.supervisor.start([Program("ghost", ("/nonexistent/program",))])
    await aeventually(lambda: any("ghost: could not be started" in line for line in running.lines))


async def test_stop_ends_the_later_group_first(running, tmp_path):
    order = tmp_path / "order"
    code = """
import signal, sys, time
def end(*_):
    open({path!r}, "a").write({name!r} + " ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
    running.supervisor.start([python("base", code.format(path=str(order), name="base"))])
    running.supervisor.start([python("top", code.format(path=str(order), name="top"))])
    await aeventually(lambda: running.said("base      | up") and running.said("top       | up"))
    await running.supervisor.stop(30)
    assert order.read_text().split() == ["top", "base"]
    assert not any("starting it again" in line for line in running.lines)


async def test_a_program_that_ignores_the_stop_is_killed_at_the_deadline(running):
    running.supervisor.start([python("deaf", STUBBORN)])
    await aeventually(lambda: running.said("deaf      | up"))
    process = psutil.Process(running.supervisor.pids["deaf"])
    await running.supervisor.stop(0.2)
    assert not process.is_running()
    assert "system    | deaf: did not stop within 0 s; killing it" in running.lines


async def test_processes_that_a_program_has_started_end_with_it(running):
    running.supervisor.start([python("parent", PARENT)])
    await aeventually(lambda: running.said("parent    | up") == 2)
    (child,) = psutil.Process(running.supervisor.pids["parent"]).children()
    await running.supervisor.stop(1)
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(30)
    assert not child.is_running()


async def test_a_stop_between_two_starts_is_not_missed(running):
    running.supervisor.start([python("frail", "raise SystemExit(1)")])
    await aeventually(lambda: any("starting it again" in line for line in running.lines))
    await asyncio.wait_for(running.supervisor.stop(30), 30)
    assert running.supervisor.pids == {}


async def test_a_very_long_line_neither_stops_nor_blocks_a_program(running):
    running.supervisor.start([python("loud", f"print('x' * 3_000_000, flush=True); {SLEEPER}")])
    await aeventually(lambda: running.said("loud      | up"))


def test_a_reader_that_stopped_reading_does_not_hold_up_the_console():
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as out:
        console = Console(out)
        for _ in range(30_000):
            console.line("x" * 100)
        assert not console.close(timeout=0.05)
        os.close(reader)
        assert console.close(timeout=30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_no_program_is_left_when_the_supervisor_is_killed(tmp_path):
    code = f"""
import asyncio, os, sys
from pathlib import Path
from stocksblitz.devserver.supervisor import Console, Program, Supervisor
async def main():
    console, folder = Console(open(1, 'wb', buffering=0)), Path({str(tmp_path)!r})
    supervisor = Supervisor(console, os.environ, folder, lambda pids: None)
    supervisor.start([Program("deaf", (sys.executable, "-S", "-c", {STUBBORN!r}))])
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        children = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        assert said == "deaf      | up\n"
        (child,) = children
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
