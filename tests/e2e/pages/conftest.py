"""The tests of this folder share one running server; one worker runs them all (tests/conftest.py)."""

from tests.e2e.live_stack import live_stack  # noqa: F401  (a fixture)
