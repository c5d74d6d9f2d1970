"""Every entry of the catalogue: streaming equals batch, forming bars change nothing, ready means settled."""

import math

import numpy as np
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicators.engine.kernels import FACTORIES, Kernel
from indicators.engine.spec import CATALOGUE, build, parse
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import Bar
from tests.indicators.engine.data import MINUTE, agree, columns, parts_of, random_bars, raw, run

NAMES = sorted(CATALOGUE)
LONG = random_bars(4200, seed=11)


@st.composite
def markets(draw):
    """A walk of steps and spans with bars that stand still, gaps in time and in price, and sessions."""
    start = draw(st.sampled_from([1e-8, 0.37, 25.5, 1.0e5, 1e9]))
    seed = draw(st.integers(0, 2**32 - 1))
    calm = draw(st.floats(0, 1))
    rng = np.random.default_rng(seed)
    bars, close, ts, session = [], start, MINUTE, MINUTE
    for _ in range(200):
        still = rng.random() < calm * 0.5
        ts += MINUTE * (1 if rng.random() < 0.97 else int(rng.integers(2, 500)))
        session = ts if rng.random() < 0.05 else session
        opened = close * (1 if still else math.exp(rng.normal(0, 0.01)))
        close = opened * (1 if still else math.exp(rng.normal(0, 0.01)))
        high = max(opened, close) * (1 if still else 1 + abs(rng.normal(0, 0.005)))
        low = min(opened, close) * (1 if still else 1 - abs(rng.normal(0, 0.005)))
        volume = 0.0 if rng.random() < 0.1 else float(rng.integers(1, 10_000))
        bars.append(Bar(ts, opened, high, low, close, volume, session))
    return bars


def finite(value):
    if isinstance(value, dict):
        return all(part is None or math.isfinite(part) for part in value.values())
    return value is None or math.isfinite(value)


def test_every_entry_has_a_kernel():
    assert set(FACTORIES) == set(CATALOGUE)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(bars=markets(), cut=st.integers(1, 199))
def test_streaming_equals_batch_and_a_forming_bar_changes_nothing(bars, cut):
    for name in NAMES:
        spec = parse(name)
        batch = raw(name, bars)
        kernel = Kernel(spec, bars[:cut])  # opened from history
        other = bars[cut - 1]
        for i in range(cut, len(bars)):
            kernel.peek(other)  # a bar that forms and then changes
            value = kernel.peek(bars[i])
            assert value == kernel.update(bars[i]) == batch[i], (name, i)
            assert finite(value), (name, i, value)


TALIB_PARAMETERS: dict[str, dict[str, float]] = {
    "MACD": {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9},
    "STOCH": {"fastk_period": 14, "slowk_period": 3, "slowd_period": 3},
    "STOCHF": {"fastk_period": 14, "fastd_period": 3},
    "UO": {"timeperiod1": 7, "timeperiod2": 14, "timeperiod3": 28},
    "MAMA": {"fastlimit": 0.5, "slowlimit": 0.05},
    "T3": {"timeperiod": 10, "vfactor": 0.7},
    "SUPERTREND": {"timeperiod": 10, "multiplier": 3.0},
    "BOP": {},
    "BBANDS": {"timeperiod": 20, "nbdevup": 2.0, "nbdevdn": 2.0},
}


@pytest.mark.parametrize("name", [n for n, e in CATALOGUE.items() if e.kernel.startswith("TA-Lib")])
def test_talib_kernels_equal_its_batch_functions(name):
    """Bar by bar and bit by bit: the first part of every entry that TA-Lib computes."""
    spec, bars = parse(name), random_bars(600, seed=3)
    function = talib.abstract.Function(spec.entry.kernel.removeprefix("TA-Lib ").split(",")[0])
    lengths = {"timeperiod": spec.params["length"]} if "length" in spec.params else {}
    function.parameters = TALIB_PARAMETERS.get(name, lengths)
    found = function(columns(bars))
    batch = found if isinstance(found, list) else [found]
    wanted = np.asarray(batch[2 if name == "BBANDS" else 0], dtype=float)
    own = np.array([parts_of(value, spec.entry.parts)[0] for value in raw(name, bars)])
    known = ~np.isnan(own)
    assert known.sum() > 300
    assert np.array_equal(own[known], wanted[known])


@pytest.mark.parametrize("name", NAMES)
def test_ready_means_that_a_longer_history_changes_nothing(name):
    spec = parse(name)
    if spec.entry.endless:
        pytest.skip("counts from the first bar, as the catalogue says")
    longer, later = raw(name, LONG), run(name, LONG[333:])
    first = next(i for i, (_, ready) in enumerate(later) if ready)
    assert first >= spec.warmup - 1
    assert spec.entry.settles or first == spec.warmup - 1
    for one, (other, ready), bar in zip(longer[333:], later, LONG[333:], strict=True):
        if ready:
            pairs = zip(parts_of(one, spec.entry.parts), parts_of(other, spec.entry.parts), strict=True)
            assert all(agree(a, b, bar.close) for a, b in pairs), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_ready_has_a_value_on_ordinary_bars(name):
    found = [value for value, ready in run(name, LONG[:3000]) if ready]
    assert found
    assert None not in found


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), draw=st.data())
def test_every_allowed_parameter_opens_and_runs(name, draw):
    params = {}
    for param in CATALOGUE[name].params:
        numbers = (
            st.integers(int(param.low), int(param.high))
            if param.kind == "int"
            else st.floats(param.low, param.high)
        )
        ends = st.sampled_from([param.low, param.high])
        params[param.name] = draw.draw(st.sampled_from(param.choices) if param.choices else numbers | ends)
    try:
        spec = build(name, params)
    except StocksBlitzError:  # too long to settle, or not ascending
        return
    kernel = Kernel(spec, LONG[:250])
    for bar in LONG[250:280]:
        value = kernel.peek(bar)
        assert value == kernel.update(bar)
        assert finite(value)


def flat(price, volume=1.0, count=300):
    return [
        Bar((i + 1) * MINUTE, price, price, price, price, volume, i // 50 * 50 * MINUTE) for i in range(count)
    ]


CASES = {
    "constant": flat(100.0),
    "constant, tiny": flat(1e-8),
    "constant, huge": flat(1e9),
    "zero": flat(0.0, 0.0),
    "negative": [bar._replace(open=-5.0, low=-6.0, close=-5.5 + i % 3) for i, bar in enumerate(flat(-4.0))],
    "without volume": [bar._replace(volume=0.0) for bar in random_bars(300)],
    "tiny": random_bars(300, start=1e-8),
    "huge": random_bars(300, start=1e9),
    "from huge to tiny": random_bars(150, start=1e9)
    + [b._replace(ts=b.ts + 150 * MINUTE) for b in random_bars(150, start=1e-8)],
    "jumps": [
        bar._replace(close=bar.close * (1e6 if i % 7 == 0 else 1)) for i, bar in enumerate(random_bars(300))
    ],
    "upside down": [bar._replace(high=bar.low, low=bar.high) for bar in random_bars(300)],
    "one bar": random_bars(1),
    "two bars": random_bars(2),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_markets_give_a_value_or_none_never_an_exception(case):
    for name in NAMES:
        for value in raw(name, CASES[case]):
            assert finite(value), (name, value)


@pytest.mark.parametrize("scale", [2.0**-26, 2.0**20])
def test_values_scale_with_the_price(scale):
    """RSI and its like ignore the unit of the price, averages follow it, also at 1e-8 and 1e9."""
    bars = random_bars(500, seed=5)
    scaled = [Bar(b.ts, *(p * scale for p in b[1:5]), b.volume, b.session) for b in bars]
    for name in ("RSI_14", "STOCH_14_3_3", "ADX_14", "CCI_20", "WILLR_14", "MFI_14", "AROON_14"):
        parts = parse(name).entry.parts
        for one, other in zip(run(name, bars), run(name, scaled), strict=True):
            assert np.allclose(
                parts_of(one[0], parts), parts_of(other[0], parts), rtol=1e-9, equal_nan=True
            ), name
    for name in (
        "SMA_20",
        "EMA_20",
        "ATR_14",
        "KC_20_2",
        "SUPERTREND_10_3",
        "VWAP",
        "STDEV_30",
        "MACD_12_26_9",
    ):
        parts = parse(name).entry.parts
        keep = [i for i, part in enumerate(parts or ("",)) if part != "SUPERTd"]
        for one, other in zip(run(name, bars), run(name, scaled), strict=True):
            a, b = np.array(parts_of(one[0], parts))[keep], np.array(parts_of(other[0], parts))[keep]
            assert np.allclose(a * scale, b, rtol=1e-9, atol=1e-12 * 100 * scale, equal_nan=True), name
