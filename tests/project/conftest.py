"""Fixtures of the tests that hold the tree and its documents against the running server."""

from tests.e2e.conftest import live_stack  # noqa: F401  (a fixture)
