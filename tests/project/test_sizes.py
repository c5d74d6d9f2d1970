"""Sizes that keep the tree readable: short functions, files for one sitting, folders for one glance."""

import ast
import statistics
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

LARGEST_FILE = 400
MOST_MODULES = 14
LONGEST_MEDIAN = 8
OURS = ("stocksblitz", "indicators", "portfolio", "sdk", "bench", "tests", "static/js")


@cache
def modules() -> list[Path]:
    """Return our Python and browser modules, without migrations, packages' faces and vendored files."""
    listed = subprocess.run(["git", "ls-files", *OURS], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / line for line in listed.stdout.splitlines() if line.endswith((".py", ".js"))]
    return [path for path in paths if path.name != "__init__.py" and "migrations" not in path.parts]


def test_no_file_is_too_long_to_read_in_one_sitting():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > LARGEST_FILE} == {}


def test_no_folder_holds_too_many_modules():
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in modules())
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_functions_are_short():
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in modules()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in ("stocksblitz", "indicators", "portfolio")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert statistics.median(lengths) <= LONGEST_MEDIAN
