"""The documents name every setting, route, message, code, key, metric and command, and no others."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, get_resolver

from stocksblitz.api import errors
from stocksblitz.delivery import messages as wire
from stocksblitz.observability import metrics
from stocksblitz.redis import keys
from tests.e2e.stack import ROOT

PROTOCOL = (ROOT / "docs/protocol.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
README = (ROOT / "README.md").read_text()
APPS = ("stocksblitz", "indicators", "portfolio")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_OURS = {"PATH", "DJANGO_SETTINGS_MODULE", "HOME"}


def rows(text: str) -> list[list[str]]:
    """The cells of every table row of a document, without the marks of code."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def coded(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def sources() -> Iterator[Path]:
    return (path for app in APPS for path in (ROOT / app).rglob("*.py"))


def environment_reads() -> Iterator[tuple[str, ast.expr | None]]:
    """Each environment variable that the code reads, with the expression of its default."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="env" | "env_int" | "env_list"),
                    args=[ast.Constant(value=str(name)), *rest],
                ):
                    yield name, rest[0] if rest else None
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="environ")),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield name, None
                case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                    yield name, None


def documented() -> dict[str, list[str]]:
    """The row of each setting's own table: the first that begins with its name."""
    found: dict[str, list[str]] = {}
    for row in rows(CONFIGURATION):
        for name in coded(row[0]):
            if re.fullmatch(r"[A-Z][A-Z_]+", name):
                found.setdefault(name, row)
    return found


DOCUMENTED = documented()


def test_every_setting_is_documented_and_every_documented_setting_exists():
    assert set(DOCUMENTED) - {"FEED"} == {name for name, _ in environment_reads()} - NOT_OURS - {"FEED"}


def test_documented_defaults_are_those_of_the_code():
    literal = {
        name: default.value for name, default in environment_reads() if isinstance(default, ast.Constant)
    }
    assert len(literal) > 20
    for name, value in literal.items():
        shown = DOCUMENTED[name][1]
        assert shown == (f"`{value}`" if value != "" else "empty") or "SECRET" in name, name


def patterns(resolver, prefix: str = "/") -> Iterator[str]:
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        elif each.app_name != "admin":
            yield from patterns(each, route)


def anonymous(route: str) -> str:
    return re.sub(r"{[^}]*}", "{}", route)


PAGES = {"/", "/login", "/logout", "/portfolio"}
"""For people, in the README."""


def test_every_route_is_documented_and_every_documented_route_exists():
    there = {anonymous(route) for route in patterns(get_resolver())} - PAGES
    told = {anonymous(route) for route in re.findall(r"`(?:GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)", PROTOCOL)}
    assert there == told


def test_no_route_ends_in_a_slash():
    assert [route for route in patterns(get_resolver()) if route.endswith("/") and route != "/"] == []


def test_every_request_and_its_fields_are_documented():
    requests = (
        PROTOCOL.split("### Requests")[1].split("### Messages")[0]
        + PROTOCOL.split("## WebSocket `/ws/portfolio`")[1]
    )
    for kind, fields in wire.CLIENT_FIELDS.items():
        assert f'"type": "{kind}"' in requests or f"`{kind}`" in requests, kind
        for field in fields:
            assert f'"{field}"' in requests or f"`{field}`" in requests, f"{kind}.{field}"


def test_every_message_is_documented():
    missing = [kind for kind in wire.SERVER_MESSAGES if f"`{kind}`" not in PROTOCOL]
    assert missing == []


def test_close_codes_are_exactly_those_documented():
    table = PROTOCOL.split("### Close codes")[1].split("### Limits")[0]
    assert {int(row[0]) for row in rows(table) if row[0].isdigit()} == {int(code) for code in wire.Close}


def test_error_codes_are_exactly_those_documented():
    table = PROTOCOL.split("### Error codes")[1].split("### Close codes")[0]
    told = {coded(row[0])[0]: (int(row[1]), "(retryable)" in row[2]) for row in rows(table) if coded(row[0])}
    assert told == {code: (kind.status, kind.retryable) for code, kind in errors.KINDS.items()}


def test_error_codes_of_rest_alone_are_documented():
    from stocksblitz.api import problems

    assert [code for code in problems.CODES.values() if f"`{code}`" not in PROTOCOL] == []


def test_limits_name_their_settings():
    table = PROTOCOL.split("### Limits")[1].split("## WebSocket")[0]
    assert {coded(row[2])[0] for row in rows(table) if coded(row[2])} <= set(DOCUMENTED)


def test_public_redis_names_are_documented():
    names = keys.Keys()
    public = [
        names.market("{SYMBOL}"),
        names.price_updates,
        names.holders("{SYMBOL}", "live"),
        names.latest("{SYMBOL}", "{tf}", "{id}"),
        names.lock("{SYMBOL}", "{tf}", "{id}"),
        names.subscribers("{SYMBOL}", "{tf}", "{id}"),
        names.updates("{SYMBOL}", "{tf}"),
        names.snapshot(r"{live\|demo}:{id}"),
    ]
    assert [name for name in public if f"{name}`" not in PROTOCOL] == []


def test_every_metric_is_documented():
    names = [
        f"{each.name}_total" if each.type == "counter" else each.name for each in metrics.REGISTRY.collect()
    ]
    assert [name for name in names if f"`{name}`" not in OPERATIONS] == []


def test_every_command_is_documented():
    own = [name for name, app in get_commands().items() if str(app).partition(".")[0] in APPS]
    assert "run" in own
    assert [name for name in own if f"manage.py {name}" not in OPERATIONS] == []


def heading_anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), link


def test_every_decision_is_listed():
    pages = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    listed = re.findall(r"\]\((0[^)]*)\)", (ROOT / "docs/decisions/README.md").read_text())
    assert pages == sorted(listed)


def test_every_document_is_reached_from_the_readme():
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"(docs/{path.name})" not in README] == []


def test_make_help_names_the_commands():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "bench"):
        assert f"make {target}" in shown
        assert f"make {target}" in README


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
