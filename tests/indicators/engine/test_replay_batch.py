"""The nine indicators over real files, bar by bar, against an independent batch computation over the whole file."""

import math

import numpy as np
import pytest
import talib

from indicators.engine.spec import parse
from tests.indicators.engine.data import COMMON, agree, columns, parts_of, read, run

FILES = {"BTCUSD_1min": 0, "6E_1min": 30 * 60_000, "SPY_1min": 60 * 60_000}


def wilder(values, period):
    """Wilder's average, seeded with a mean, written out."""
    out = np.full(len(values), math.nan)
    first = int(np.argmax(~np.isnan(values)))
    out[first + period - 1] = values[first : first + period].mean()
    for i in range(first + period, len(values)):
        out[i] = out[i - 1] + (values[i] - out[i - 1]) / period
    return out


def ema(values, period):
    out = np.full(len(values), math.nan)
    first = int(np.argmax(~np.isnan(values)))
    out[first + period - 1] = values[first : first + period].mean()
    for i in range(first + period, len(values)):
        out[i] = out[i - 1] + 2 / (period + 1) * (values[i] - out[i - 1])
    return out


def rolling(values, period, function):
    windows = np.lib.stride_tricks.sliding_window_view(values, period)
    return np.r_[np.full(period - 1, math.nan), function(windows, axis=1)]


def true_range(c):
    before = np.r_[math.nan, c["close"][:-1]]
    spans = [c["high"] - c["low"], np.abs(c["high"] - before), np.abs(c["low"] - before)]
    return np.fmax.reduce(spans)


def oracle_rsi(c, bars):
    move = np.diff(c["close"], prepend=math.nan)
    up, down = (
        wilder(np.where(np.isnan(move), move, np.maximum(move, 0)), 14),
        wilder(np.where(np.isnan(move), move, np.maximum(-move, 0)), 14),
    )
    return [100 * up / (up + down)]


def oracle_macd(c, bars):
    line = ema(c["close"], 12) - ema(c["close"], 26)
    signal = ema(line, 9)
    return [line, line - signal, signal]


def oracle_bbands(c, bars):
    middle, wide = rolling(c["close"], 20, np.mean), rolling(c["close"], 20, np.std)
    low, high = middle - 2 * wide, middle + 2 * wide
    with np.errstate(all="ignore"):
        return [low, middle, high, 100 * (high - low) / middle, (c["close"] - low) / (high - low)]


def oracle_adx(c, bars):
    up, down = np.diff(c["high"], prepend=math.nan), -np.diff(c["low"], prepend=math.nan)
    plus = np.where((up > down) & (up > 0), up, np.where(np.isnan(up), math.nan, 0.0))
    minus = np.where((down > up) & (down > 0), down, np.where(np.isnan(up), math.nan, 0.0))
    swing = wilder(np.where(np.isnan(up), math.nan, true_range(c)), 14)
    plus, minus = 100 * wilder(plus, 14) / swing, 100 * wilder(minus, 14) / swing
    return [wilder(100 * np.abs(plus - minus) / (plus + minus), 14), plus, minus]


def oracle_stoch(c, bars):
    low, high = rolling(c["low"], 14, np.min), rolling(c["high"], 14, np.max)
    with np.errstate(all="ignore"):
        fast = np.where(high > low, 100 * (c["close"] - low) / (high - low), 0.0)
    fast[:13] = math.nan
    slow = rolling(fast, 3, np.mean)
    return [slow, rolling(slow, 3, np.mean)]


def oracle_supertrend(c, bars):
    swing, middle = wilder(true_range(c), 10), (c["high"] + c["low"]) / 2
    low, high, trend = math.nan, math.nan, 1
    rows = []
    for i, close in enumerate(c["close"]):
        under, over = middle[i] - 3 * swing[i], middle[i] + 3 * swing[i]
        before = c["close"][i - 1]
        past_low, past_high = low, high
        low = under if not past_low >= under or before < past_low else past_low
        high = over if not past_high <= over or before > past_high else past_high
        trend = (-1 if close < low else 1) if trend > 0 else (1 if close > high else -1)
        line = low if trend > 0 else high
        rows.append((line, trend, line if trend > 0 else math.nan, line if trend < 0 else math.nan))
    return list(np.array(rows).T)


def oracle_vwap(c, bars):
    typical = (c["high"] + c["low"] + c["close"]) / 3
    sessions = np.array([bar.session for bar in bars])
    out = np.full(len(bars), math.nan)
    for session in np.unique(sessions):
        rows = sessions == session
        with np.errstate(all="ignore"):
            out[rows] = np.cumsum((typical * c["volume"])[rows]) / np.cumsum(c["volume"][rows])
    return [out]


ORACLES = {
    "RSI_14": oracle_rsi,
    "MACD_12_26_9": oracle_macd,
    "BBANDS_20_2": oracle_bbands,
    "EMA_50": lambda c, bars: [ema(c["close"], 50)],
    "ATR_14": lambda c, bars: [wilder(true_range(c), 14)],
    "ADX_14": oracle_adx,
    "STOCH_14_3_3": oracle_stoch,
    "SUPERTREND_10_3": oracle_supertrend,
    "VWAP": oracle_vwap,
}


@pytest.fixture(scope="module", params=FILES)
def bars(request, data):
    return read(data / "bars" / f"{request.param}.csv", FILES[request.param])


@pytest.mark.parametrize("indicator", COMMON)
def test_every_value_from_the_first_ready_one_on_is_that_of_the_batch(indicator, bars):
    parts = parse(indicator).entry.parts
    wanted = np.array(ORACLES[indicator](columns(bars), bars)).T
    found = run(indicator, bars)
    ready = [i for i, (_, ok) in enumerate(found) if ok]
    assert ready
    assert ready == list(range(ready[0], len(bars)))  # once ready, always ready
    assert ready[0] < 900 or indicator == "VWAP"
    for i in ready:
        got = parts_of(found[i][0], parts)
        for one, other, part in zip(got, wanted[i], parts or ("",), strict=True):
            # a place between bands is a quotient of small differences: its error is theirs over their distance
            scale = 1.0 if part == "BBP" else bars[i].close
            assert agree(one, other, scale), f"{indicator} {part} at bar {i}: {one} is not {other}"


def test_talib_in_one_batch_says_the_same(bars):
    c = columns(bars)
    batch = {
        "RSI_14": [talib.RSI(c["close"], 14)],
        "ATR_14": [talib.ATR(c["high"], c["low"], c["close"], 14)],
        "STOCH_14_3_3": talib.STOCH(c["high"], c["low"], c["close"], 14, 3, 0, 3, 0),
        "SUPERTREND_10_3": talib.SUPERTREND(c["high"], c["low"], c["close"], 10, 3.0),
    }
    for indicator, wanted in batch.items():
        parts = parse(indicator).entry.parts
        for i, (value, ok) in enumerate(run(indicator, bars)):
            if ok:
                got = parts_of(value, parts)
                assert all(one == other[i] for one, other in zip(got, wanted, strict=False)), (indicator, i)
