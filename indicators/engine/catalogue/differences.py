"""Where a value differs for good from another program's, and why: name -> program -> difference.

Differences of the seed alone, which are gone once an indicator is ready, are not named. Tests hold that everything
that is not named here agrees with pandas-ta 0.4.71b0, and that what is named differs.
"""

OFFSET = "another start of the endless sum"

DIFFERENCES: dict[str, dict[str, str]] = {
    "ADX": {
        "pandas-ta": "gives raw movements as DMP and DMN where TA-Lib is installed; its ADXR is left out"
    },
    "ALLIGATOR": {"TradingView": "draws the lines 8, 5 and 3 bars into the future"},
    "ALMA": {"pandas-ta": "rounds the middle of the bell down to a whole bar"},
    "AOBV": {"pandas-ta": OFFSET},
    "APO": {"pandas-ta": "simple averages by default"},
    "AROON": {"Stock.Indicators": "the older one of two equal extremes, rounded to whole percents"},
    "BBANDS": {"pandas-ta": "length 5 by default; deviation of a sample without TA-Lib"},
    "CCI": {"pandas-ta": "divides the mean alone where TA-Lib is missing"},
    "CDL_DOJI": {"TA-Lib": "CDLDOJI has its own average of the range"},
    "CDL_Z": {"pandas-ta": "deviation of the population where TA-Lib is installed, though it says ddof 1"},
    "CG": {"pandas-ta": "gives the newest bar the largest weight"},
    "CHOP": {"Stock.Indicators": "its range includes the close before"},
    "CKSP": {"pandas-ta": "simple averages, x 3 and q 20 by default"},
    "CMO": {"TA-Lib": "smooths gains and losses as Wilder does"},
    "CRSI": {"pandas-ta": "counts no streak beyond 1, ranks strictly lower changes"},
    "DONCHIAN": {"Stock.Indicators": "leaves the current bar out"},
    "DPO": {
        "pandas-ta": "centred by default, which looks ahead",
        "TradingView": "centred where the box is ticked",
    },
    "EOM": {"pandas-ta": "divisor 100,000,000 by default"},
    "HMA": {"TA-Lib": "may round the half and the root of the length otherwise"},
    "ICHIMOKU": {
        "pandas-ta": "has the lagging span, which looks ahead",
        "Stock.Indicators": "spans one bar further ahead",
    },
    "KC": {"pandas-ta": "EMA of the true range", "TA-Lib": "EMA of the typical price"},
    "KST": {"pandas-ta": "100 times as much"},
    "KVO": {"pandas-ta": "a bar with an unchanged typical price counts nothing"},
    "NVI": {"pandas-ta": "adds percentages"},
    "OBV": {"pandas-ta": f"{OFFSET} where TA-Lib is installed", "TA-Lib": OFFSET},
    "PIVOTS": {"pandas-ta": "by calendar day; its S3, S4, R3, R4 are not TradingView's"},
    "PPO": {"pandas-ta": "simple averages by default"},
    "PSAR": {
        "pandas-ta": "looks at one bar before alone, and tests before it bounds the stop",
        "Stock.Indicators": "does not keep the stop out of the range of the bar on which it turns",
        "TradingView": "tests whether the price has reached the stop before it bounds it by the two bars before",
    },
    "PVI": {"pandas-ta": "stays at its start but for one bar"},
    "PVT": {"pandas-ta": "100 times as much"},
    "REFLEX": {"pandas-ta": "takes the cosine of degrees as if of radians"},
    "RSI": {"pandas-ta": "forgets scalar where TA-Lib is installed; first value as seed where it is not"},
    "SMA": {"pandas-ta": "length 10 by default"},
    "EMA": {"pandas-ta": "length 10 by default"},
    "SMC": {"pandas-ta": "fills unknown values from later bars"},
    "STC": {"pandas-ta": "keeps the value while the MACD line is below zero"},
    "STOCH": {"pandas-ta": "smooths %K by d where TA-Lib is installed; also gives the difference of both"},
    "SUPERTREND": {
        "pandas-ta": "keeps the active band alone from loosening; length 7 by default",
        "TradingView": "direction -1 in an uptrend",
    },
    "TMO": {"pandas-ta": "has two more parts, zeros by default"},
    "TOS_STDEVALL": {"pandas-ta": "the whole line of the last window, redrawn with each bar"},
    "TRENDFLEX": {"pandas-ta": "takes the cosine of degrees as if of radians"},
    "TRIX": {"TradingView": "of the logarithm, times 10,000"},
    "VHM": {"pandas-ta": "deviation over all bars, those to come as well"},
    "VIDYA": {"pandas-ta": "begins with 0; Wilder's smoothing where TA-Lib is installed"},
    "VWAP": {"TA-Lib": "never begins anew", "pandas-ta": "by calendar day"},
    "ZSCORE": {"pandas-ta": "deviation of a sample where TA-Lib is missing"},
}
