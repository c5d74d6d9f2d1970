"""``python -m bench [names…]``: run the benchmarks named, or all of them.

A benchmark is a module of `bench.benchmarks` with ``def run(report) -> None``. Every figure is one JSON line on
stdout (`bench.report`); progress and what could not be run go to stderr. The exit status says whether every
benchmark ran, not whether its targets were met: figures of a busy machine are no verdict.
"""

import argparse
import ast
import importlib
import signal
import sys
import traceback
from pathlib import Path

from bench.report import Report

FIRST = ("fanout", "compute")
"""These run first: the figures that most readers look for."""


def is_benchmark(path: Path) -> bool:
    """Return whether the module defines ``run``, told from its source: an import would load pandas or Django."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in body)


def names() -> list[str]:
    """Return the names of all benchmarks in the order in which they run."""
    found = [path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py") if is_benchmark(path)]
    return sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="which benchmarks; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="name the benchmarks there are")
    asked = parser.parse_args(argv)
    known = names()
    if asked.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    return run_all(asked.names or known, Report())


def run_all(chosen: list[str], report: Report) -> int:
    failed = [name for name in chosen if not ran(name, report)]
    if failed:
        report.say(f"failed: {', '.join(failed)}")
    if report.missed:
        report.say(f"targets missed: {'; '.join(report.missed)}")
    return 1 if failed else 0


def ran(name: str, report: Report) -> bool:
    """Run one benchmark and return whether it ended; its exception is shown and the others go on."""
    report.say(name)
    try:
        importlib.import_module(f"bench.benchmarks.{name}").run(report)
    except Exception:  # one benchmark that fails does not take the others with it
        traceback.print_exc(file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
