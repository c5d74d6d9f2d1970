"""Momentum: how fast and how far prices moved."""

from functools import partial

from indicators.catalogue.entry import Entry as _Entry
from indicators.catalogue.entry import length, scalar

Entry = partial(_Entry, category="momentum")

ENTRIES = (
    Entry(
        "RSI",
        "Relative Strength Index",
        (length(14, low=2), scalar()),
        warmup="rma(length)",
        kernel="TA-Lib RSI",
        convention="Wilder's average seeded with a mean; times scalar / 100.",
    ),
    Entry(
        "MACD",
        "Moving Average Convergence Divergence",
        (length(12, "fast"), length(26, "slow", 2), length(9, "signal")),
        ("MACD", "MACDh", "MACDs"),
        warmup="ema(slow) + ema(signal, 2)",
        kernel="TA-Lib MACD",
        convention="EMA(fast) - EMA(slow); signal is its EMA, MACDh the difference.",
        ascending=("fast", "slow"),
    ),
    Entry(
        "STOCH",
        "Stochastic Oscillator",
        (length(14, "k"), length(3, "d"), length(3, "smooth_k")),
        ("STOCHk", "STOCHd"),
        warmup="k + d + smooth_k - 2",
        kernel="TA-Lib STOCH",
        convention="Simple averages: %K of k bars smoothed by smooth_k, %D of d values of it.",
    ),
)
