"""Compute an indicator in the usual way: read the bars from JSON, build a DataFrame, run pandas-ta over all of it."""

import json
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import pandas as pd  # pandas-ta warns while it loads
import pandas_ta

ta: Any = pandas_ta  # its type annotations are wrong in places

MIX: dict[str, Callable[[pd.DataFrame], Any]] = {
    "RSI_14": lambda df: ta.rsi(df.close, length=14),
    "MACD_12_26_9": lambda df: ta.macd(df.close, fast=12, slow=26, signal=9),
    "BBANDS_20_2": lambda df: ta.bbands(df.close, length=20, std=2),
    "SMA_20": lambda df: ta.sma(df.close, length=20),
    "EMA_50": lambda df: ta.ema(df.close, length=50),
    "ATR_14": lambda df: ta.atr(df.high, df.low, df.close, length=14),
    "ADX_14": lambda df: ta.adx(df.high, df.low, df.close, length=14),
    "STOCH_14_3_3": lambda df: ta.stoch(df.high, df.low, df.close, k=14, d=3, smooth_k=3),
    "SUPERTREND_10_3": lambda df: ta.supertrend(df.high, df.low, df.close, length=10, multiplier=3),
    "VWAP": lambda df: ta.vwap(df.high, df.low, df.close, df.volume),
}
COLUMNS = ["ts", "open", "high", "low", "close", "volume"]


def frame_of(bars: str) -> pd.DataFrame:
    """Return a DataFrame, indexed by time, of the JSON rows ``[ts, open, high, low, close, volume]``."""
    df = pd.DataFrame(json.loads(bars), columns=COLUMNS)
    df.index = pd.to_datetime(df["ts"], unit="ms")
    return df


def value(indicator: str, df: pd.DataFrame) -> Any:
    """Return the newest value of the indicator: one number, or one number per part."""
    return MIX[indicator](df).iloc[-1]
