"""Run the named benchmarks, or all of them: ``python -m bench [names…]``.

A benchmark is a module of `bench.benchmarks` with ``def run(report) -> None``. Every figure is one JSON line on
stdout (`bench.report`); progress and skipped parts are printed on stderr. The exit status says whether every
benchmark ran to its end, not whether its targets were met, because a busy machine makes every figure worse.
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
"""Benchmarks that run first, because most readers look for their figures."""


def is_benchmark(path: Path) -> bool:
    """Return whether the module's source defines ``run``; it is not imported, because that loads pandas or Django."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in body)


def names() -> list[str]:
    """Return the names of all benchmarks in the order in which they run."""
    found = [path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py") if is_benchmark(path)]
    return sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that the command line names and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="benchmarks to run; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="print the names of all benchmarks")
    options = parser.parse_args(argv)
    known = names()
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; choose from {', '.join(known)}")
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # an exit runs the clean-up that stops our processes
    return run_all(options.names or known, Report())


def run_all(chosen: list[str], report: Report) -> int:
    """Run the chosen benchmarks one after another; return 1 when any of them failed, else 0."""
    failed = [name for name in chosen if not ran(name, report)]
    if failed:
        report.say(f"failed: {', '.join(failed)}")
    if report.missed:
        report.say(f"targets missed: {'; '.join(report.missed)}")
    return 1 if failed else 0


def ran(name: str, report: Report) -> bool:
    """Run one benchmark and return whether it succeeded; print its exception instead of raising it."""
    report.say(name)
    try:
        importlib.import_module(f"bench.benchmarks.{name}").run(report)
    except Exception:  # the other benchmarks still run
        traceback.print_exc(file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
