"""Keeps programs running: starts them, starts again what dies, stops them all, and leaves none behind."""

import asyncio
import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
SETTLED_S = 10.0
"""A program that ran this long is started again at once; one that dies sooner waits longer each time."""
LONGEST_LINE = 2**20
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    command: Sequence[str]


def read_procfile(text: str) -> list[Program]:
    """The programs of a Procfile: ``name: shell command`` on each line, ``#`` begins a comment."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return [Program(name.strip(), ("/bin/sh", "-c", f"exec {command.strip()}")) for name, _, command in pairs]


def _prctl() -> Callable[..., int] | None:
    """Linux's prctl, looked up before any fork; None on other systems."""
    return getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


_PRCTL = _prctl()


def die_with_parent(number: int) -> None:
    """Have the kernel send us this signal when the thread that started us ends in any way (Linux only)."""
    if _PRCTL is not None:
        _PRCTL(PR_SET_PDEATHSIG, number)


class Console:
    """Writes lines, each behind the name of who said it; a slow reader misses some and holds up nobody.

    ``out`` must not buffer.
    """

    def __init__(self, out: BinaryIO, width: int = 9) -> None:
        self.width = width
        self._out = out
        self._lines: queue.Queue[str | None] = queue.Queue(10_000)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def say(self, name: str, text: str) -> None:
        self.line(f"{name:<{self.width}} | {text}")

    def line(self, text: str) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(text)

    def close(self, timeout: float = 1.0) -> bool:
        """Write what waits; returns whether all of it was written in time."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=timeout)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _write(self) -> None:
        while (text := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                self._out.write(f"{text}\n".encode())


@dataclass
class ProgramRunner:
    """One program, started again whenever it ends, until `stop`."""

    program: Program
    console: Console
    env: Mapping[str, str]
    cwd: Path
    changed: Callable[[], None] = lambda: None
    process: Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """The process that runs now; None between two."""
        return self.process.pid if self.process else None

    async def keep(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            outcome = await self._run()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > SETTLED_S:
                pause = FIRST_PAUSE_S
            self._say(f"{outcome}; starting it again in {pause:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(LONGEST_PAUSE_S, pause * 2)

    async def stop(self, deadline_s: float) -> None:
        """Ask the program to end, and end it when the deadline is over."""
        self._stopping.set()
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), deadline_s)
        except TimeoutError:
            self._say(f"did not stop within {deadline_s:.0f} s; killing it")
            self.kill()

    def kill(self) -> None:
        """End the program, and all that it has started, at once and for good."""
        self._stopping.set()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def _run(self) -> str:
        supervisor = os.getpid()

        def last_words() -> None:
            die_with_parent(signal.SIGKILL)
            if os.getppid() != supervisor:  # it died before we could ask
                os._exit(1)

        try:
            process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                env=dict(self.env),
                cwd=self.cwd,
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C goes to the supervisor alone, which stops them in order
                preexec_fn=last_words,
            )
        except OSError as error:
            return f"could not be started: {error}"
        self.process = process
        if self._stopping.is_set():
            self.kill()
        self.changed()
        reader = asyncio.create_task(self._relay(process))
        code = await process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started goes with it
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader, 1)
        self.process = None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def _relay(self, process: Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than LONGEST_LINE: dropped
                continue
            if not line:
                return
            self.console.say(self.program.name, line.decode(errors="replace").rstrip("\r\n"))

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _say(self, text: str) -> None:
        self.console.say("system", f"{self.program.name}: {text}")


class Supervisor:
    """Runs programs side by side; stops them in the reverse order of their groups."""

    def __init__(
        self, console: Console, env: Mapping[str, str], cwd: Path, changed: Callable[[dict[str, int]], None]
    ) -> None:
        self.console = console
        self.env = env
        self.cwd = cwd
        self._changed = changed
        self._groups: list[list[ProgramRunner]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, programs: Sequence[Program]) -> None:
        """Start these beside what runs already."""
        group = [ProgramRunner(each, self.console, self.env, self.cwd, self._report) for each in programs]
        self._groups.append(group)
        self._tasks += [asyncio.create_task(runner.keep()) for runner in group]

    async def stop(self, deadline_s: float) -> None:
        """Stop all: what was started last goes first, each group within the deadline."""
        for group in reversed(self._groups):
            await asyncio.gather(*(runner.stop(deadline_s) for runner in group))
        await asyncio.gather(*self._tasks)

    def kill(self) -> None:
        for group in self._groups:
            for runner in group:
                runner.kill()

    @property
    def pids(self) -> dict[str, int]:
        runners = [runner for group in self._groups for runner in group]
        return {runner.program.name: runner.pid for runner in runners if runner.pid is not None}

    def _report(self) -> None:
        self._changed(self.pids)
