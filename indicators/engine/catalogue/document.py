"""Write `docs/indicators.md`: ``python -m indicators.engine.catalogue.document > docs/indicators.md``."""

import sys
from collections.abc import Iterable, Iterator

from indicators.engine.catalogue import CATALOGUE, KEPT_BARS, Entry, Param
from indicators.engine.catalogue.differences import DIFFERENCES

INTRODUCTION = """# Indicators

<!-- Written by `python -m indicators.engine.catalogue.document`; a test fails when it is not current. -->

{count} indicators, each computed once per symbol and timeframe, for closed bars and for the forming one.

**Ids** are `NAME_p1_p2…` in the order of the parameters below; left-out trailing ones take their defaults, and
`20_2.0` is `20_2`. Ids that mean the same are one computation. The canonical id has all parameters but those in
parentheses, which are added where they are not at their default: `RSI_14_100` is `RSI_14`, `RSI` is it, too.

**Parts**: a value with several parts is an object with these keys, without parts it is a number. A part that is not
defined at a bar (the line of a downtrend in an uptrend, a quotient over nothing) is `null`.

**Warm-up** is the number of bars until a value is `ready`: until it agrees with any longer history to 1e-6 of itself,
or 1e-9 of the price where values cross zero. It follows from the parameters: `ema(n)`, `price(n)` and `rma(n)` are
seed and memory of an exponential average, of one that is a price, and of Wilder's (a second argument: taken so many
times one after another), `decay(w)` the memory of one with weight w, `poles(n)` and `holt(…)` those of Ehlers' and
Holt's filters. `+ data`: the data decide as well, so it may be ready later. `endless`: a sum from the first bar of the
kept history, ready at once and never the same for another history. At most {kept:,} bars are kept; parameters that
would need more are refused (`EMA_330` and `RSI_140` are about the longest).

**Bars** without finite prices have no values and leave the state as it was; a volume that is no number counts
as zero.

**Kernels** are streaming handles of TA-Lib where it has the indicator in the right convention, else small state
machines of the project's own. Nothing needs pandas-ta. Tests hold the entries against independent computations:
TA-Lib's batch functions bit by bit, pandas-ta over a whole file, published values of Stock.Indicators and Tulip.
"""

DIFFERENCE_TEXT = """
## Differences

Where values differ for good from those of another program, and why. Differences of the first bars, which come from
other seeds and are gone when a value is ready, are not named: TradingView seeds an EMA with the first value, TA-Lib
with a mean; TradingView's ATR begins with high - low. What looks ahead is left out: the centred DPO, Ichimoku's
lagging span, zigzag, and what needs more than one symbol's bars (`long_run`, `short_run`) or is no series of values
(`vp`).
"""


def document() -> Iterator[str]:
    """Return the lines of the page."""
    yield INTRODUCTION.format(count=len(CATALOGUE), kept=KEPT_BARS).rstrip()
    for category in dict.fromkeys(entry.category for entry in CATALOGUE.values()):
        yield f"\n## {category.capitalize()}\n"
        header = ("id", "name", "parameters", "parts", "warm-up", "kernel", "convention")
        yield from _table(header, (_row(e) for e in CATALOGUE.values() if e.category == category))
    yield DIFFERENCE_TEXT
    rows = (
        (name, other, what) for name, named in sorted(DIFFERENCES.items()) for other, what in named.items()
    )
    yield from _table(("indicator", "differs from", "which"), rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    header = tuple(header)
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _row(entry: Entry) -> tuple[str, ...]:
    more = " + data" if entry.settles else ", endless" if entry.endless else ""
    bars = entry.bars({p.name: p.default for p in entry.params})
    rule = "" if entry.warmup == str(bars) else f" (`{entry.warmup}`)"
    params = "; ".join(map(_parameter, entry.params))
    parts = ", ".join(entry.parts)
    return (
        f"`{entry.name}`",
        entry.title,
        params,
        parts,
        f"{bars}{rule}{more}",
        entry.kernel,
        entry.convention,
    )


def _parameter(param: Param) -> str:
    bounds = ", ".join(param.choices) if param.kind == "choice" else f"{param.low:g}–{param.high:g}"
    default = f"{param.default:g}" if not isinstance(param.default, str) else param.default
    shown = f"{param.name} {default} [{bounds}]"
    return shown if param.primary else f"({shown})"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in document())
