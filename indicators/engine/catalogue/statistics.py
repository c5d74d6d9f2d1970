"""Statistics of the closes, their performance, and cycles in them."""

from functools import partial

from indicators.engine.catalogue.entry import Entry as _Entry
from indicators.engine.catalogue.entry import length, number, whole

Entry = partial(_Entry, category="statistics")
DDOF = whole("ddof", 0, 0, 1)

ENTRIES = (
    Entry(
        "ENTROPY",
        "Entropy",
        (length(10), number("base", 2, 1.01, 1000)),
        warmup="2 * length - 1",
        convention="Of the shares of the closes in their sum.",
    ),
    Entry(
        "KURTOSIS",
        "Kurtosis",
        (length(30, low=4),),
        warmup="length",
        convention="Excess of a sample, unbiased.",
    ),
    Entry("MAD", "Mean Absolute Deviation", (length(30),), warmup="length", convention="Around the mean."),
    Entry("MEDIAN", "Median", (length(30),), warmup="length", convention="Of the closes.", pane="overlay"),
    Entry(
        "QUANTILE",
        "Quantile",
        (length(30), number("q", 0.5, 0, 1)),
        warmup="length",
        convention="Linear between two closes.",
        pane="overlay",
    ),
    Entry("SKEW", "Skew", (length(30, low=3),), warmup="length", convention="Of a sample, unbiased."),
    Entry(
        "STDEV",
        "Standard Deviation",
        (length(30, low=2), DDOF),
        warmup="length",
        convention="Of the population, as in TradingView; of a sample with ddof 1.",
    ),
    Entry(
        "TOS_STDEVALL",
        "Standard Deviation Channel",
        (length(30, low=3),),
        ("LR", "L_1", "U_1", "L_2", "U_2", "L_3", "U_3"),
        warmup="length",
        convention="Where the least-squares line of the last closes ends, and deviations of a sample around it; "
        "the line behind the bar, which is redrawn with each bar, is left out.",
        pane="overlay",
    ),
    Entry(
        "VARIANCE",
        "Variance",
        (length(30, low=2), DDOF),
        warmup="length",
        convention="Of the population, as in TradingView; of a sample with ddof 1.",
    ),
    Entry(
        "ZSCORE",
        "Z-Score",
        (length(30, low=2), number("std", 1, 0.01, 100)),
        warmup="length",
        convention="Distance of the close to its mean in population deviations.",
    ),
    Entry(
        "DRAWDOWN",
        "Drawdown",
        parts=("DD", "DD_PCT", "DD_LOG"),
        convention="Fall from the highest close. Counts from the first bar of the kept history.",
        category="performance",
        endless=True,
    ),
    Entry(
        "LOG_RETURN",
        "Logarithmic Return",
        (length(1),),
        warmup="length + 1",
        convention="Over length bars.",
        category="performance",
    ),
    Entry(
        "PERCENT_RETURN",
        "Percent Return",
        (length(1),),
        warmup="length + 1",
        convention="Over length bars, as a fraction.",
        category="performance",
    ),
    Entry(
        "EBSW",
        "Even Better Sine Wave",
        (length(40, low=5), length(10, "bars", 2)),
        warmup="4 * length + 2 * poles(bars)",
        convention="Angles in radians; begins with the first close.",
        category="cycle",
    ),
    Entry(
        "REFLEX",
        "Ehlers' Reflex",
        (length(20, low=2), length(20, "smooth", 4), number("alpha", 0.04, 0.001, 1)),
        warmup="length + poles(smooth / 2) + decay(alpha)",
        convention="Super smoother with its angle in radians; over its own usual size.",
        category="cycle",
    ),
)
