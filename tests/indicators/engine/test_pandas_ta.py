"""Every entry against pandas-ta over a whole file: it agrees, unless the differences name why not."""

import inspect
import math
import warnings

import numpy as np
import pytest

from indicators.engine.catalogue.differences import DIFFERENCES
from indicators.engine.spec import CATALOGUE, parse
from tests.indicators.engine.data import columns, parts_of, raw, read

NAMES = [n for n in CATALOGUE if not n.startswith("CDL") or n in ("CDL_DOJI", "CDL_INSIDE", "CDL_Z")]
DEFAULTS_ONLY = {
    *("ADX", "ALLIGATOR", "BBANDS", "DPO", "EMA", "EOM", "ICHIMOKU", "KVO", "RSI"),
    *("SMA", "SMC", "STOCH", "TMO", "VWAP", "ZSCORE"),
}
"""They differ by default, in parts that are left out or on rare bars, and agree where asked for the same."""
ENGINE = {"CCI", "OBV", "VIDYA"}
"""They differ from one of its two ways (with and without TA-Lib) only."""
EXTRA = {"DPO": {"centered": False}, "ICHIMOKU": {"include_chikou": False}, "SSF": {"everget": True}}
LOOSE = {"SSF": 1e-4, "SSF3": 1e-5}
"""pandas-ta has pi and its roots with four to six digits."""
BARS, COMPARED = 3400, 400


@pytest.fixture(scope="module")
def ta():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pandas_ta")


@pytest.fixture(scope="module")
def bars(data):
    return [bar._replace(session=bar.ts) for bar in read(data / "bars" / "SPY_1d.csv")][-BARS:]


@pytest.fixture(scope="module")
def frame(bars):
    import pandas as pd

    return pd.DataFrame(columns(bars), index=pd.to_datetime([bar.ts for bar in bars], unit="ms"))


def arguments(name, known, frame):
    """What pandas-ta is to be called with for the same meaning."""
    series = {("open_" if k == "open" else k): frame[k] for k in frame}
    left_out = {"PSL": {"open_"}, "AD": {"open_"}, "CMF": {"open_"}, "ADOSC": {"open_"}}
    left_out |= {n: {"high", "low"} for n in ("INERTIA", "RVI")}
    series = {k: v for k, v in series.items() if k in known and k not in left_out.get(name, set())}
    params = {k: v for k, v in parse(name).params.items() if k in known}
    if name == "BBANDS":
        params |= {"lower_std": 2.0, "upper_std": 2.0}
    return series | params | EXTRA.get(name, {})


def table(found, name):
    """Part -> column, by the beginning of pandas-ta's column names, else by order."""
    found = found[0] if isinstance(found, tuple) else found
    found = found.to_frame(name) if found.ndim == 1 else found
    parts = parse(name).entry.parts or (name,)
    out = {}
    for at, part in enumerate(parts):
        named = [c for c in found if c == part or c.startswith(part + "_")]
        column = named[0] if named else found.columns[at]
        out[part] = found[column].to_numpy(dtype=float)
    return out


def worst(own, other):
    """Largest disagreement, relative to the value (or to what is usual where it crosses zero)."""
    both = ~np.isnan(own) & ~np.isnan(other)
    if not both.any() or (np.isnan(own) != np.isnan(other)).any():
        return math.inf
    own, other = own[both], other[both]
    return float(np.max(np.abs(own - other) / (np.abs(other) + 1e-4 * np.mean(np.abs(other)) + 1e-300)))


def errors(ta, name, bars, frame):
    function = getattr(ta, name.lower())
    known = inspect.signature(function).parameters
    given = arguments(name, known, frame)
    values = np.array([parts_of(value, CATALOGUE[name].parts) for value in raw(name, bars)])
    for engine in ({"talib": True}, {"talib": False}) if "talib" in known else ({},):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = table(function(**given, **engine), name)
        size = min(COMPARED, min(len(column) for column in found.values()))
        yield max(worst(values[-size:, i], column[-size:]) for i, column in enumerate(found.values()))


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_pandas_ta_unless_the_differences_say_otherwise(name, ta, bars, frame):
    differs = "pandas-ta" in DIFFERENCES.get(name, {}) and name not in DEFAULTS_ONLY
    found = list(errors(ta, name, bars, frame))
    agreed = [error <= LOOSE.get(name, 1e-6) for error in found]
    if name in ENGINE:
        assert any(agreed), found
        assert not all(agreed), found
    elif differs:
        assert not any(agreed), "a difference is named that there is not"
    else:
        assert any(agreed), found


def test_over_130_of_its_151_names_are_there(ta):
    from pandas_ta.maps import Category

    names = {name.upper() for family in Category.values() for name in family}
    left_out = names - set(CATALOGUE)
    assert left_out == {"CDL_PATTERN", "LONG_RUN", "SHORT_RUN", "ZIGZAG"}, left_out
    assert len(names - left_out) > 130


def test_candle_patterns_are_all_there(ta):
    from pandas_ta.candle.cdl_pattern import ALL_PATTERNS

    assert {f"CDL{p.upper()}" for p in ALL_PATTERNS} - set(CATALOGUE) == {"CDLINSIDE"}
    assert "CDL_INSIDE" in CATALOGUE
