"""Every Lua script describes what it is given, and names no key that it was not given."""

import re

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted(
    path for app in ("stocksblitz", "indicators", "portfolio") for path in (ROOT / app).rglob("*.lua")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_header_describes_each_key_and_argument(path):
    text = path.read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("--"))
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    used = set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", code))
    assert used, "a script without keys and arguments"
    assert used <= set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", header))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_key_is_built_inside(path):
    """Redis Cluster sends a script by its KEYS; a name that is joined inside would lie on another server."""
    calls = re.findall(r"redis\.p?call\(\s*'[A-Z]+'\s*,([^,)]*)", path.read_text())
    assert calls
    assert [key.strip() for key in calls if ".." in key] == []
