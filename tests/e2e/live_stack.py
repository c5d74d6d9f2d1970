"""The running server that the tests of one folder share; conftest.py of each such folder makes it known."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="package")
def live_stack() -> Iterator[Stack]:
    """A running server with the simulated feed, left by every test as it was found; it ends with the folder's tests."""
    stack = Stack(FEED="simulated")
    try:
        yield stack.start().wait_ready()
    finally:
        stack.close()
