"""Python client of a StocksBlitz server; README.md shows how to use it."""

from stocksblitz_sdk.client import Client
from stocksblitz_sdk.errors import StocksBlitzError, StreamClosed
from stocksblitz_sdk.indicators import (
    ADX,
    ATR,
    BBANDS,
    EMA,
    MACD,
    RSI,
    SMA,
    STOCH,
    SUPERTREND,
    VWAP,
    Indicator,
)
from stocksblitz_sdk.messages import Bar, History, IndicatorValue, Update, Value
from stocksblitz_sdk.stream import Stream
from stocksblitz_sdk.subscription import IndicatorSubscription

__all__ = [
    "ADX",
    "ATR",
    "BBANDS",
    "EMA",
    "MACD",
    "RSI",
    "SMA",
    "STOCH",
    "SUPERTREND",
    "VWAP",
    "Bar",
    "Client",
    "History",
    "Indicator",
    "IndicatorSubscription",
    "IndicatorValue",
    "StocksBlitzError",
    "Stream",
    "StreamClosed",
    "Update",
    "Value",
]
