"""Boundaries that the import contracts cannot see: the libraries a web process loads, and who opens connections."""

import re
import subprocess
import sys

from tests.e2e.stack import ROOT

APPS = ("stocksblitz", "indicators", "portfolio")
NUMERICS = ("numba", "pandas", "pandas_ta", "talib", "scipy", "vollib", "exchange_calendars")


def test_the_web_process_loads_no_numeric_library():
    code = f"""
import sys
import stocksblitz.asgi
from django.contrib import admin
from django.urls import get_resolver
import stocksblitz.server.websocket
assert get_resolver().url_patterns and admin.site._registry
print(*[name for name in {NUMERICS!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_connections_are_opened_in_one_place():
    opens = re.compile(r"\b(?:Redis|RedisCluster|StrictRedis|Sentinel)(?:\.from_url)?\(|\bfrom_url\(")
    found = {
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if opens.search(path.read_text())
    }
    assert found == {"stocksblitz/redis/client.py"}


def test_redis_names_are_built_in_one_place():
    public = re.compile(
        r"f\"[^\"]*(?:market:|indicator:|indicator_sub:|indicator_updates:|symbol_holders:|portfolio:)\{"
    )
    found = {
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if public.search(path.read_text())
    }
    assert found <= {"stocksblitz/redis/keys.py"}
