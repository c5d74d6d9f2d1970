"""Trend: whether there is one, and how strong."""

from functools import partial

from indicators.catalogue.entry import Entry as _Entry
from indicators.catalogue.entry import length

Entry = partial(_Entry, category="trend")

ENTRIES = (
    Entry(
        "ADX",
        "Average Directional Movement Index",
        (length(14, low=2),),
        ("ADX", "DMP", "DMN"),
        warmup="rma(length, 2)",
        kernel="TA-Lib ADX, PLUS_DI, MINUS_DI",
        convention="Wilder's smoothing throughout; DMP and DMN are the directional indicators +DI and -DI.",
    ),
)
