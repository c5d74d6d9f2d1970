"""Volume: how much was traded, and at which prices."""

from functools import partial

from indicators.engine.catalogue.entry import Entry as _Entry
from indicators.engine.catalogue.entry import length, number, scalar

Entry = partial(_Entry, category="volume")
ENDLESS = "Counts from the first bar of the kept history."

ENTRIES = (
    Entry(
        "VWAP",
        "Volume Weighted Average Price",
        convention="Typical price weighted by volume since the exchange session opened. Ready once a session was "
        "seen from its first bar.",
        pane="overlay",
        settles=True,
    ),
    Entry("AD", "Accumulation/Distribution", convention=ENDLESS, endless=True),
    Entry(
        "ADOSC",
        "Accumulation/Distribution Oscillator",
        (length(3, "fast"), length(10, "slow")),
        warmup="ema(slow)",
        convention="Difference of two EMAs of AD.",
        ascending=("fast", "slow"),
    ),
    Entry(
        "AOBV",
        "Archer On-Balance Volume",
        (
            length(4, "fast"),
            length(12, "slow"),
            length(2, "max_lookback"),
            length(2, "min_lookback"),
            length(2, "run_length"),
        ),
        ("OBV", "OBV_min", "OBV_max", "OBVe_fast", "OBVe_slow", "AOBV_LR", "AOBV_SR"),
        warmup="max(ema(slow) + run_length, max_lookback, min_lookback)",
        convention=f"OBV, its extremes, EMAs, and 1 while the fast one rose (LR) or fell (SR). {ENDLESS}",
        ascending=("fast", "slow"),
        endless=True,
    ),
    Entry(
        "CMF",
        "Chaikin Money Flow",
        (length(20),),
        warmup="length",
        convention="Sum of the money flow over the sum of the volume; a bar without a range adds no flow.",
    ),
    Entry(
        "EFI",
        "Elder's Force Index",
        (length(13),),
        warmup="1 + ema(length)",
        convention="EMA of change times volume.",
    ),
    Entry(
        "EOM",
        "Ease of Movement",
        (length(14), number("divisor", 10_000, 1, 1e12)),
        warmup="length + 1",
        convention="Simple average; the divisor of TradingView, and bars without volume are left out.",
    ),
    Entry(
        "KVO",
        "Klinger Volume Oscillator",
        (length(34, "fast"), length(55, "slow"), length(13, "signal")),
        ("KVO", "KVOs"),
        warmup="1 + ema(slow) + ema(signal, 2)",
        convention="EMAs of the volume signed by the typical price's change, 0 counts as a rise, as in TradingView.",
        ascending=("fast", "slow"),
    ),
    Entry(
        "MFI",
        "Money Flow Index",
        (length(14, low=2),),
        warmup="length + 1",
        kernel="TA-Lib MFI",
        convention="An unchanged typical price is neither inflow nor outflow.",
    ),
    Entry(
        "NVI",
        "Negative Volume Index",
        (number("initial", 1000, 1, 1e6),),
        convention=f"Multiplies, as in TradingView. {ENDLESS}",
        endless=True,
    ),
    Entry("OBV", "On-Balance Volume", convention=f"Begins with 0. {ENDLESS}", endless=True),
    Entry(
        "PVI",
        "Positive Volume Index",
        (length(255), number("initial", 1000, 1, 1e6)),
        ("PVI", "PVIe"),
        warmup="ema(length)",
        convention=f"Multiplies, as in TradingView; PVIe is its EMA. {ENDLESS}",
        endless=True,
    ),
    Entry(
        "PVO",
        "Percentage Volume Oscillator",
        (length(12, "fast"), length(26, "slow"), length(9, "signal"), scalar()),
        ("PVO", "PVOh", "PVOs"),
        warmup="ema(slow) + ema(signal, 2)",
        convention="PPO of the volume.",
        ascending=("fast", "slow"),
    ),
    Entry("PVOL", "Price-Volume", convention="Close times volume."),
    Entry(
        "PVR",
        "Price Volume Rank",
        warmup="2",
        convention="1 price and volume up or unchanged, 2 volume down, 3 price down, 4 both down.",
    ),
    Entry(
        "PVT",
        "Price-Volume Trend",
        convention=f"Sum of relative change times volume (not in percent), as in TradingView. {ENDLESS}",
        endless=True,
    ),
    Entry(
        "TSV",
        "Time Segmented Value",
        (length(18), length(10, "signal")),
        ("TSV", "TSVs", "TSVr"),
        warmup="length + signal",
        convention="Sum of change times volume, its simple average, and their ratio.",
    ),
    Entry(
        "VHM",
        "Volume Heatmap",
        (length(610, low=2),),
        warmup="length",
        convention="Volume's distance to its mean in population deviations.",
    ),
    Entry(
        "VWMA",
        "Volume Weighted Moving Average",
        (length(10),),
        warmup="length",
        convention="Closes weighted by volume.",
        pane="overlay",
    ),
)
