"""Fixtures of the tests that run the real processes; what these printed is shown with a failure."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.browser import chromium, complaints, context, page  # noqa: F401  (fixtures)
from tests.e2e.stack import Stack


@pytest.fixture
def stack() -> Iterator[Callable[..., Stack]]:
    """Makes servers with environments of their own: ``stack(FEED="replay:…").start().wait_ready()``."""
    made: list[Stack] = []

    def make(**env: str) -> Stack:
        made.append(Stack(**env))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Stack) and value.log_path.exists():
                report.sections.append((f"output of {name}", value.tail()))
    return report
