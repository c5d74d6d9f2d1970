"""The end of ``manage.py run``: by signals, killed, during its start, and under ``make``."""

import contextlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import eventually, takes_less
from tests.e2e.stack import PROCESSES, ROOT, Stack

pytestmark = pytest.mark.process
SMALL = {"FEED": "simulated?symbols=BTCUSD"}
"""The least that a server can do: these tests are about its start and its end."""
STOPPED_S = 180
"""How long a stop may take on a busy machine."""


def gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def all_gone(processes: list[psutil.Process]) -> bool:
    return all(gone(each) for each in processes)


def test_sigterm_stops_all_and_a_second_start_is_quick(stack):
    began = time.monotonic()
    first = stack(**SMALL).start().wait_ready()
    first_took = time.monotonic() - began
    family = first.family()
    assert len(family) > len(PROCESSES)
    assert first.stop() == 0
    assert all_gone(family)
    assert "did not stop" not in first.log

    def start_again():
        began = time.monotonic()
        again = stack(**SMALL, STOCKSBLITZ_DATA=str(first.data), PORT=str(first.port)).start().wait_ready()
        took = time.monotonic() - began
        assert again.stop() == 0
        return took

    takes_less(5 + 2 * first_took, start_again)  # it waits for nothing that the first has left


def test_two_sigints_at_once_count_as_one_and_stop_all(stack):
    running = stack(**SMALL).start().wait_ready()
    family = running.family()
    running.process.send_signal(signal.SIGINT)
    assert running.stop(signal.SIGINT) == 0
    assert all_gone(family)
    assert "did not stop" not in running.log


def test_a_stop_during_the_start_leaves_no_process(stack):
    starting = stack(**SMALL).start()
    eventually((starting.data / "run.json").exists)
    family = starting.family()
    assert starting.stop() == 0
    assert all_gone(family)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_killing_the_supervisor_leaves_no_process(stack):
    running = stack(**SMALL).start().wait_ready()
    family = running.family()
    assert running.process is not None
    running.process.kill()
    running.process.wait()
    eventually(lambda: all_gone(family))
    again = stack(**SMALL, STOCKSBLITZ_DATA=str(running.data)).start().wait_ready()
    assert again.stop() == 0


def make(running: Stack) -> subprocess.Popen:
    """``make run`` with the environment of a stack, its output in the stack's log."""
    with running.log_path.open("ab") as log:
        return subprocess.Popen(
            ["make", "--silent", "run"],
            cwd=ROOT,
            env=running.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A run of the tests in the background ignores SIGINT, and make would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopping_make_alone_stops_every_process(stack, number):
    running = stack(**SMALL)
    running.process = make(running)
    running.wait_ready()
    family = running.family()
    running.process.send_signal(number)
    running.process.wait(STOPPED_S)
    eventually(lambda: all_gone(family))
