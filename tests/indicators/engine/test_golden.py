"""Published values of other programs: Stock.Indicators' regression baselines and Tulip's output."""

import json
import math

import pytest

from indicators.engine.spec import parse
from tests.indicators.engine.data import agree, parts_of, read, run

BASELINES = {
    "RSI_14": ("rsi", ("rsi",)),
    "MACD_12_26_9": ("macd", ("macd", "histogram", "signal")),
    "BBANDS_20_2": ("bb", ("lowerBand", "sma", "upperBand", None, "percentB")),
    "SMA_20": ("sma", ("sma",)),
    "EMA_20": ("ema", ("ema",)),
    "ATR_14": ("atr", ("atr",)),
    "ADX_14": ("adx", ("adx", "pdi", "mdi")),
    "STOCH_14_3_3": ("stoch", ("oscillator", "signal")),
    "SUPERTREND_10_3": ("supertrend", ("superTrend", None, "lowerBand", "upperBand")),
    "KC_20_2": ("keltner", ("lowerBand", "centerline", "upperBand")),
    "ICHIMOKU_9_26_52": ("ichimoku", (None, None, "tenkanSen", "kijunSen")),
    "CCI_20": ("cci", ("cci",)),
    "MFI_14": ("mfi", ("mfi",)),
    "OBV": ("obv", ("obv",)),
    "CMF_20": ("cmf", ("cmf",)),
    "VORTEX_14": ("vortex", ("pvi", "nvi")),
    "ROC_14": ("roc", ("roc",)),
    "STOCHRSI_14_14_1_3": ("stoch-rsi", ("stochRsi", "signal")),
    "TRIX_14": ("trix", ("trix", None)),
    "VWAP": ("vwap", ("vwap",)),
}


@pytest.fixture(scope="module")
def bars(data):
    """One session, as their VWAP is anchored at the first bar."""
    return [bar._replace(session=0) for bar in read(data / "bars" / "GOLDEN_1d.csv")]


@pytest.mark.parametrize("indicator", BASELINES)
def test_stock_indicators_baselines(indicator, bars, data):
    name, fields = BASELINES[indicator]
    rows = json.loads((data / "indicators" / f"{name}.standard.json").read_text())
    parts = parse(indicator).entry.parts
    compared = 0
    for (value, ready), row, bar in zip(run(indicator, bars), rows, bars, strict=True):
        if not ready:
            continue
        for own, field in zip(parts_of(value, parts), fields, strict=False):
            if field is not None:
                other = math.nan if row[field] is None else row[field]
                assert agree(own, other, bar.close), (bar, field, own, other)
                compared += 1
    assert compared > 80


def test_parabolic_sar_follows_wilder(bars, data):
    """All but one bar in a hundred: their stop after a turn is not kept out of that bar's own range."""
    rows = json.loads((data / "indicators" / "psar.standard.json").read_text())
    ready = [(value, row) for (value, ok), row in zip(run("PSAR", bars), rows, strict=True) if ok]
    same = [abs((value["PSARl"] or value["PSARs"]) - row["sar"]) <= 1e-9 * row["sar"] for value, row in ready]
    assert len(same) > 300
    assert sum(same) / len(same) > 0.97


def shifted(indicator, baseline, fields, bars, data):
    """Pairs of our value and theirs of the next bar."""
    rows = json.loads((data / "indicators" / f"{baseline}.standard.json").read_text())
    for (value, ready), row in zip(run(indicator, bars), rows[1:], strict=False):
        if ready:
            yield tuple(value[own] for own in fields), tuple(row[other] for other in fields.values())


def test_donchian_is_theirs_with_the_current_bar(bars, data):
    fields = {"DCL": "lowerBand", "DCU": "upperBand"}
    pairs = list(shifted("DONCHIAN_20_20", "donchian", fields, bars, data))
    assert len(pairs) > 400
    assert all(own == other for own, other in pairs)


def test_ichimoku_spans_stand_one_bar_earlier_than_theirs(bars, data):
    """Theirs are 26 bars ahead, ours and TradingView's 25: the current bar counts."""
    fields = {"ISA": "senkouSpanA", "ISB": "senkouSpanB"}
    pairs = list(shifted("ICHIMOKU_9_26_52", "ichimoku", fields, bars, data))
    assert len(pairs) > 400
    assert all(
        a == pytest.approx(b, rel=1e-12) for own, other in pairs for a, b in zip(own, other, strict=True)
    )


def test_aroon_is_theirs_but_for_equal_extremes(bars, data):
    """Of two equal highs theirs takes the older one, ours, as TA-Lib's, the newer."""
    rows = json.loads((data / "indicators" / "aroon.standard.json").read_text())
    found = [
        (v["AROONU"], row["aroonUp"]) for (v, ok), row in zip(run("AROON_25", bars), rows, strict=True) if ok
    ]
    differing = [(own, other) for own, other in found if abs(own - other) > 1e-9]
    assert len(found) > 400
    assert len(differing) < 10
    assert all(own > other for own, other in differing)


TULIP = {
    "ao": "AO_5_34",
    "aroon_down": "AROON_14",
    "atr": "ATR_14",
    "avgprice": "OHLC4",
    "bbands_lower": "BBANDS_20_2",
    "bop": "BOP",
    "cci": "CCI_14",
    "cmo": "CMO_14",
    "dema": "DEMA_20",
    "ema": "EMA_20",
    "fisher_val": "FISHER_9",
    "kama": "KAMA_10",
    "linreg": "LINREG_14",
    "medprice": "HL2",
    "mfi": "MFI_14",
    "mom": "MOM_10",
    "natr": "NATR_14",
    "qstick": "QSTICK_10",
    "roc": "ROC_10_1",
    "rsi": "RSI_14",
    "sma": "SMA_20",
    "stddev": "STDEV_20",
    "stoch_k": "STOCH_14_3_3",
    "tema": "TEMA_20",
    "trima": "TRIMA_20",
    "typprice": "HLC3",
    "var": "VARIANCE_20",
    "vhf": "VHF_28",
    "vwma": "VWMA_20",
    "wcprice": "WCP",
    "wilders": "RMA_14",
    "willr": "WILLR_14",
    "wma": "WMA_20",
    "zlema": "ZLMA_20",
}


@pytest.mark.parametrize("name", TULIP)
def test_tulip(name, spy, tulip):
    parts = parse(TULIP[name]).entry.parts
    found = run(TULIP[name], spy)[-2100:]
    for (value, ready), other, bar in zip(found, tulip[name], spy[-2100:], strict=True):
        assert ready
        assert agree(parts_of(value, parts)[0], other, bar.close)


@pytest.fixture(scope="module")
def spy(data):
    return read(data / "bars" / "SPY_1d.csv")


@pytest.fixture(scope="module")
def tulip(data):
    return json.loads((data / "indicators" / "tulip_last2100_SPY_1d.json").read_text())["arrays"]
