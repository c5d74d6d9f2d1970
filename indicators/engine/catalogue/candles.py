"""Candles: patterns of a few bars, and candles drawn in another way."""

from functools import partial

from indicators.engine.catalogue.entry import Entry as _Entry
from indicators.engine.catalogue.entry import length, number, whole

Entry = partial(_Entry, category="candle")

PATTERNS = {
    "CDL2CROWS": ("Two Crows", 12),
    "CDL3BLACKCROWS": ("Three Black Crows", 13),
    "CDL3INSIDE": ("Three Inside Up/Down", 12),
    "CDL3LINESTRIKE": ("Three-Line Strike", 8),
    "CDL3OUTSIDE": ("Three Outside Up/Down", 3),
    "CDL3STARSINSOUTH": ("Three Stars in the South", 12),
    "CDL3WHITESOLDIERS": ("Three Advancing White Soldiers", 12),
    "CDLABANDONEDBABY": ("Abandoned Baby", 12),
    "CDLADVANCEBLOCK": ("Advance Block", 12),
    "CDLBELTHOLD": ("Belt-hold", 10),
    "CDLBREAKAWAY": ("Breakaway", 14),
    "CDLCLOSINGMARUBOZU": ("Closing Marubozu", 10),
    "CDLCONCEALBABYSWALL": ("Concealing Baby Swallow", 13),
    "CDLCOUNTERATTACK": ("Counterattack", 11),
    "CDLDARKCLOUDCOVER": ("Dark Cloud Cover", 11),
    "CDLDOJI": ("Doji", 10),
    "CDLDOJISTAR": ("Doji Star", 11),
    "CDLDRAGONFLYDOJI": ("Dragonfly Doji", 10),
    "CDLENGULFING": ("Engulfing", 2),
    "CDLEVENINGDOJISTAR": ("Evening Doji Star", 12),
    "CDLEVENINGSTAR": ("Evening Star", 12),
    "CDLGAPSIDESIDEWHITE": ("Side-by-Side White Lines after a Gap", 7),
    "CDLGRAVESTONEDOJI": ("Gravestone Doji", 10),
    "CDLHAMMER": ("Hammer", 11),
    "CDLHANGINGMAN": ("Hanging Man", 11),
    "CDLHARAMI": ("Harami", 11),
    "CDLHARAMICROSS": ("Harami Cross", 11),
    "CDLHIGHWAVE": ("High-Wave", 10),
    "CDLHIKKAKE": ("Hikkake", 5),
    "CDLHIKKAKEMOD": ("Modified Hikkake", 10),
    "CDLHOMINGPIGEON": ("Homing Pigeon", 11),
    "CDLIDENTICAL3CROWS": ("Identical Three Crows", 12),
    "CDLINNECK": ("In-Neck", 11),
    "CDLINVERTEDHAMMER": ("Inverted Hammer", 11),
    "CDLKICKING": ("Kicking", 11),
    "CDLKICKINGBYLENGTH": ("Kicking by the Longer Marubozu", 11),
    "CDLLADDERBOTTOM": ("Ladder Bottom", 14),
    "CDLLONGLEGGEDDOJI": ("Long-Legged Doji", 10),
    "CDLLONGLINE": ("Long Line", 10),
    "CDLMARUBOZU": ("Marubozu", 10),
    "CDLMATCHINGLOW": ("Matching Low", 6),
    "CDLMATHOLD": ("Mat Hold", 14),
    "CDLMORNINGDOJISTAR": ("Morning Doji Star", 12),
    "CDLMORNINGSTAR": ("Morning Star", 12),
    "CDLONNECK": ("On-Neck", 11),
    "CDLPIERCING": ("Piercing", 11),
    "CDLRICKSHAWMAN": ("Rickshaw Man", 10),
    "CDLRISEFALL3METHODS": ("Rising/Falling Three Methods", 14),
    "CDLSEPARATINGLINES": ("Separating Lines", 11),
    "CDLSHOOTINGSTAR": ("Shooting Star", 11),
    "CDLSHORTLINE": ("Short Line", 10),
    "CDLSPINNINGTOP": ("Spinning Top", 10),
    "CDLSTALLEDPATTERN": ("Stalled Pattern", 12),
    "CDLSTICKSANDWICH": ("Stick Sandwich", 7),
    "CDLTAKURI": ("Takuri", 10),
    "CDLTASUKIGAP": ("Tasuki Gap", 7),
    "CDLTHRUSTING": ("Thrusting", 11),
    "CDLTRISTAR": ("Tristar", 12),
    "CDLUNIQUE3RIVER": ("Unique Three River", 12),
    "CDLUPSIDEGAP2CROWS": ("Upside Gap Two Crows", 12),
    "CDLXSIDEGAP3METHODS": ("Upside/Downside Gap Three Methods", 2),
}
"""TA-Lib's name of a pattern to its title and the bars that it looks back."""

ENTRIES = (
    Entry(
        "CDL_DOJI",
        "Doji by Average Range",
        (length(10), number("factor", 10, 0.01, 100)),
        warmup="length",
        convention="100 where the body is less than factor percent of the average high-low range, else 0.",
    ),
    Entry(
        "CDL_INSIDE",
        "Inside Bar",
        warmup="2",
        convention="100 where the bar lies within the one before, else 0.",
    ),
    Entry(
        "CDL_Z",
        "Candles as Z-Scores",
        (length(30, low=3), whole("ddof", 1, 0, 1)),
        ("open_Z", "high_Z", "low_Z", "close_Z"),
        warmup="length",
        convention="Each price's distance to its mean in deviations (of a sample unless ddof is 0).",
    ),
    Entry(
        "HA",
        "Heikin-Ashi Candles",
        parts=("HA_open", "HA_high", "HA_low", "HA_close"),
        warmup="decay(0.5)",
        convention="The first open is the middle of open and close.",
        pane="overlay",
    ),
    *(
        Entry(
            name,
            title,
            warmup=str(bars + 1),
            kernel=f"TA-Lib {name}",
            convention="100 bullish, -100 bearish, 200 or -200 where confirmed, else 0.",
        )
        for name, (title, bars) in PATTERNS.items()
    ),
)
