"""Overlap: lines drawn over the price."""

from functools import partial

from indicators.catalogue.entry import Entry as _Entry
from indicators.catalogue.entry import length, number

Entry = partial(_Entry, category="overlap", pane="overlay")

ENTRIES = (
    Entry(
        "SMA",
        "Simple Moving Average",
        (length(20),),
        warmup="length",
        kernel="TA-Lib SMA",
        convention="Mean of the last closes.",
    ),
    Entry(
        "EMA",
        "Exponential Moving Average",
        (length(20),),
        warmup="price(length)",
        kernel="TA-Lib EMA",
        convention="Weight 2 / (length + 1), seeded with a mean.",
    ),
    Entry(
        "SUPERTREND",
        "Supertrend",
        (length(10, low=2), number("multiplier", 3, 0.01, 100)),
        ("SUPERT", "SUPERTd", "SUPERTl", "SUPERTs"),
        warmup="rma(length)",
        kernel="TA-Lib SUPERTREND",
        convention="Bands around the middle by multiplier times ATR, both kept from loosening. SUPERTd is +1 "
        "in an uptrend (ta.supertrend of TradingView gives -1 there), SUPERTl is the line of an uptrend, "
        "SUPERTs that of a downtrend.",
        settles=True,
    ),
)
