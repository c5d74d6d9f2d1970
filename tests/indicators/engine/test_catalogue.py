"""The catalogue as the API shows it, and its page in the documents."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from indicators.engine.catalogue.differences import DIFFERENCES
from indicators.engine.catalogue.document import document
from indicators.engine.spec import CATALOGUE, catalogue, parse

ROOT = Path(__file__).resolve().parents[3]


def test_it_is_plain_json():
    shown = catalogue()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert [entry["name"] for entry in shown] == list(CATALOGUE)
    fields = {"name", "title", "category", "pane", "params", "parts", "warmup", "kernel", "convention"}
    assert all(fields <= entry.keys() for entry in shown)
    assert all(entry["pane"] in ("overlay", "pane") and entry["warmup"] >= 1 for entry in shown)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_entry_is_whole(entry):
    assert entry.title
    assert entry.convention
    assert entry.category
    assert len(set(entry.parts)) == len(entry.parts) != 1
    for param in entry.params:
        assert isinstance(param.default, {"int": int, "float": float, "choice": str}[param.kind])
        assert (
            param.default in param.choices
            if param.kind == "choice"
            else param.low <= param.default <= param.high
        )
    primary = [param.primary for param in entry.params]
    assert primary == sorted(primary, reverse=True)  # ids are shortened from the end
    assert set(entry.ascending) <= {param.name for param in entry.params}
    spec = parse(entry.name)
    assert spec.warmup == entry.bars(spec.params)
    assert parse(spec.id) == spec
    if not entry.settles and not entry.endless:
        assert spec.history == spec.warmup


def test_parts_have_the_names_of_the_contract():
    parts = {
        "MACD": {"MACD", "MACDh", "MACDs"},
        "BBANDS": {"BBL", "BBM", "BBU", "BBB", "BBP"},
        "ADX": {"ADX", "DMP", "DMN"},
        "STOCH": {"STOCHk", "STOCHd"},
        "SUPERTREND": {"SUPERT", "SUPERTd", "SUPERTl", "SUPERTs"},
        "ICHIMOKU": {"ISA", "ISB", "ITS", "IKS"},
        "RSI": set(),
        "VWAP": set(),
    }
    assert {name: set(CATALOGUE[name].parts) for name in parts} == parts


def test_it_loads_no_numeric_library():
    code = (
        "import sys, indicators.engine.spec; print({'numpy', 'pandas', 'talib', 'numba'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_engine_loads_neither_pandas_ta_nor_django():
    code = "import sys, indicators.engine.stream; print({'pandas_ta', 'numba', 'django'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_differences_are_of_the_catalogue():
    assert set(DIFFERENCES) <= set(CATALOGUE)


def test_the_page_is_current():
    page = (ROOT / "docs" / "indicators.md").read_text()
    assert page == "".join(f"{line}\n" for line in document()), (
        "write it anew: python -m indicators.engine.catalogue.document > docs/indicators.md"
    )
