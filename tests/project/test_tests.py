"""How tests are written: they wait for what they mean, and they speak to public names."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.conftest import ROOT

SLEEPS = {
    "tests/conftest.py": "polling of eventually, aeventually and stays",
    "tests/delivery/slow_database.py": "a database that is slow",
    "tests/delivery/test_consumers.py": "a handler that hangs, and time in which nothing may be taken",
    "tests/delivery/test_server.py": "a peer that is slow to read",
    "tests/delivery/hub/test_hub.py": "time in which a stream may not be given up",
    "tests/e2e/processes/test_database_killed.py": "pace of the load",
    "tests/e2e/test_replay.py": "pace of a client that reconnects",
    "tests/indicators/api/test_identity.py": "a lifetime that is counted in whole seconds",
    "tests/indicators/reads/counting_worker.py": "a computation that takes long",
    "tests/indicators/reads/test_cache.py": "a computation that takes long",
    "tests/indicators/reads/test_job_queue.py": "a computation that takes long, and pace of the load",
    "tests/market/feeds/test_processes.py": "pace of the samples",
    "tests/market/quotes/providers.py": "a provider that takes long",
    "tests/market/quotes/test_providers.py": "time in which a limit of calls fills up",
    "tests/market/quotes/test_service.py": "time in which a price expires",
    "tests/portfolio/worker/test_database_killed.py": "a random moment to kill at",
    "tests/portfolio/worker/test_faults.py": "pace of the ticks, and a random moment to kill at",
    "tests/portfolio/worker/test_price_listener.py": "pace of the prices",
    "tests/server/test_http.py": "a view that takes long enough for others to begin",
    "tests/server/test_http_protocol.py": "a response that takes long",
}
"""Files that may sleep, and for what; never in place of waiting for what is meant (`eventually`, `stays`)."""

PRIVATE = {
    "tests/delivery/hub/test_stream.py": "what is encoded once is counted where it is kept",
    "tests/indicators/subscriptions/test_subscriptions.py": "a commit is made to fail",
    "tests/market/feeds/outside.py": "the steps of a feed are taken one by one",
    "tests/market/feeds/test_external.py": "the steps of a feed are taken one by one",
    "tests/market/feeds/test_replay.py": "the time that the next step is due",
    "tests/market/feeds/test_writer.py": "the time of the last renewal of the lease",
    "tests/market/quotes/test_service.py": "nothing may be left behind in the service",
    "tests/market/quotes/test_machine.py": "a process that crashes without a clean-up is made from its threads",
}
"""Files that may use private names, and for what."""

NAMEDTUPLE = {"_replace", "_asdict", "_fields"}
"""Public methods whose underscore keeps them apart from the fields."""


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the tests by its path."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def sleeps(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that sleep; sleep(0) only lets other tasks run."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[ast.Constant(value=0)]
            ):
                continue
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep")):
                yield node.lineno


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NAMEDTUPLE


def private_uses(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that a module takes from others; its own, of self and cls, are its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name) if is_private(name):
                yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(names=names):
                yield from (f"line {node.lineno}: {alias.name}" for alias in names if is_private(alias.name))


def test_no_test_sleeps_instead_of_waiting_for_what_it_means():
    found = {path: list(sleeps(tree)) for path, tree in trees().items()}
    assert {path: lines for path, lines in found.items() if lines and path not in SLEEPS} == {}


def test_tests_speak_to_public_names():
    found = {path: list(private_uses(tree)) for path, tree in trees().items()}
    assert {path: uses for path, uses in found.items() if uses and path not in PRIVATE} == {}


def test_no_test_allows_the_orm_in_coroutines():
    unsafe = "DJANGO_ALLOW_" + "ASYNC_UNSAFE"
    files = [path for path in (ROOT / "tests").rglob("*.py") if unsafe in path.read_text()]
    assert files == [ROOT / "tests/conftest.py"]  # which takes it out of the environment
