"""Volatility: how wide prices swing."""

from functools import partial

from indicators.catalogue.entry import Entry as _Entry
from indicators.catalogue.entry import length, number

Entry = partial(_Entry, category="volatility")

ENTRIES = (
    Entry(
        "ATR",
        "Average True Range",
        (length(14),),
        warmup="rma(length)",
        kernel="TA-Lib ATR",
        convention="Wilder's average of the true range.",
    ),
    Entry(
        "BBANDS",
        "Bollinger Bands",
        (length(20, low=2), number("std", 2, 0.01, 100)),
        ("BBL", "BBM", "BBU", "BBB", "BBP"),
        warmup="length",
        kernel="TA-Lib BBANDS",
        convention="Population deviation around the simple average. BBB is the width in percent of the "
        "middle, BBP where the close stands between the bands, 0 to 1.",
        pane="overlay",
    ),
)
