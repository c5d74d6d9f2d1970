"""Fixtures of the tests that run the real processes; a failure shows the output of their servers."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.browser import chromium, complaints, context, page  # noqa: F401  (fixtures)
from tests.e2e.stack import Stack

SERVERS = pytest.StashKey[list[Stack]]()
"""The servers that a test has made."""


@pytest.fixture
def stack(request) -> Iterator[Callable[..., Stack]]:
    """Makes servers with environments of their own: ``stack(FEED="replay:…").start().wait_ready()``."""
    with contextlib.ExitStack() as made:

        def make(**env: str) -> Stack:
            server = Stack(**env)
            made.callback(server.close)
            request.node.stash.setdefault(SERVERS, []).append(server)
            return server

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        values = [*getattr(item, "funcargs", {}).values(), *item.stash.get(SERVERS, [])]
        for server in {id(value): value for value in values if isinstance(value, Stack)}.values():
            if server.log_path.exists():
                report.sections.append((f"output of the server at {server.url}", server.tail()))
    return report
