"""Volatility: how wide prices swing."""

from functools import partial

from indicators.engine.catalogue.entry import Entry as _Entry
from indicators.engine.catalogue.entry import length, number, scalar

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
    Entry(
        "ABERRATION",
        "Aberration",
        (length(5), length(15, "atr_length")),
        ("ABER_ZG", "ABER_SG", "ABER_XG", "ABER_ATR"),
        warmup="max(length, rma(atr_length))",
        convention="Simple average of the typical price, one ATR around it.",
        pane="overlay",
    ),
    Entry(
        "ACCBANDS",
        "Acceleration Bands",
        (length(20), number("c", 4, 0.01, 100)),
        ("ACCBL", "ACCBM", "ACCBU"),
        warmup="length",
        convention="Simple averages of low, close and high, spread by the relative range.",
        pane="overlay",
    ),
    Entry(
        "ATRTS",
        "ATR Trailing Stop",
        (length(14), length(20, "ma_length"), number("k", 3, 0.01, 100)),
        warmup="max(rma(length), ema(ma_length)) + 1",
        convention="k times Wilder's ATR under a close above its EMA, over one below it.",
        pane="overlay",
        settles=True,
    ),
    Entry(
        "CHANDELIER_EXIT",
        "Chandelier Exit",
        (
            length(22, "high_length"),
            length(22, "low_length"),
            length(14, "atr_length"),
            number("multiplier", 2, 0.01, 100),
        ),
        ("CHDLREXTl", "CHDLREXTs", "CHDLREXTd"),
        warmup="max(high_length, low_length, rma(atr_length)) + 1",
        convention="Highest high less, lowest low plus Wilder's ATRs; direction +1 after a close beyond the long exit.",
        pane="overlay",
        settles=True,
    ),
    Entry(
        "DONCHIAN",
        "Donchian Channels",
        (length(20, "lower_length"), length(20, "upper_length")),
        ("DCL", "DCM", "DCU"),
        warmup="max(lower_length, upper_length)",
        convention="The current bar is included, as in TradingView.",
        pane="overlay",
    ),
    Entry(
        "HWC",
        "Holt-Winter Channel",
        (
            number("scalar", 1, 0.01, 100),
            *(
                number(name, default, 0.01, 0.99, primary=False)
                for name, default in (("na", 0.2), ("nb", 0.1), ("nc", 0.1), ("nd", 0.1))
            ),
        ),
        ("HWM", "HWL", "HWU", "HWW", "HWPCT"),
        warmup="holt(na, nb, nc) + 2 * decay(nd)",
        convention="HWMA and deviations of its misses; HWW the width, HWPCT where the close stands.",
        pane="overlay",
    ),
    Entry(
        "KC",
        "Keltner Channels",
        (length(20), number("scalar", 2, 0.01, 100), length(10, "atr_length", primary=False)),
        ("KCL", "KCB", "KCU"),
        warmup="max(price(length), rma(atr_length))",
        convention="EMA of the close, Wilder's ATR of 10 around it, as in TradingView.",
        pane="overlay",
    ),
    Entry(
        "MASSI",
        "Mass Index",
        (length(9, "fast"), length(25, "slow")),
        warmup="ema(fast, 2) + slow",
        convention="Sum of EMA over EMA of EMA of the high-low range.",
    ),
    Entry(
        "NATR",
        "Normalized Average True Range",
        (length(14), scalar()),
        warmup="rma(length)",
        convention="Wilder's ATR in percent of the close.",
    ),
    Entry(
        "PDIST",
        "Price Distance",
        warmup="2",
        convention="2 (high - low) + the gap to the close before - the body.",
    ),
    Entry(
        "RVI",
        "Relative Volatility Index",
        (length(14, low=2),),
        warmup="length + ema(length)",
        convention="Population deviation, EMAs; one length for both.",
    ),
    Entry(
        "THERMO",
        "Elder's Thermometer",
        (length(20), number("long", 2, 0.01, 100), number("short", 0.5, 0.01, 100)),
        ("THERMO", "THERMOma", "THERMOl", "THERMOs"),
        warmup="1 + ema(length)",
        convention="Larger move of high or low, its EMA; THERMOl 1 below long times it, THERMOs 1 above short times it.",
    ),
    Entry(
        "TRUE_RANGE",
        "True Range",
        warmup="2",
        convention="Range that includes the close before; high less low for the first bar.",
    ),
    Entry(
        "UI",
        "Ulcer Index",
        (length(14), scalar()),
        warmup="2 * length - 1",
        convention="Root of the mean squared fall from the highest close, in percent.",
    ),
)
