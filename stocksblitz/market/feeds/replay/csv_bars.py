"""Bars out of a CSV file: what can be used comes out exactly, what cannot is named by its line."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, pairwise

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES, Bar, fault

PRICES = ("open", "high", "low", "close")
_TIME_NAMES = ("ts", "timestamp", "datetime", "date", "time")
_SECONDS = 100_000_000_000
"""A number below this would be a moment before 1973 in milliseconds: it is meant in seconds."""
_JUDGED_BY = 2_000
"""Rows that the timeframe is found from."""

Broken = tuple[int, str]
"""Line number in the file, and what is wrong there."""


@dataclass(slots=True)
class Rows:
    """What a file holds: its bars in order, their timeframe, and the lines that cannot be used."""

    bars: list[Bar]
    timeframe: str
    broken: list[Broken] = field(default_factory=list)
    decimals: int = 2
    """Of its prices."""


def read_rows(lines: Iterable[str], timeframe: str = "") -> Rows:
    """Read ``ts,open,high,low,close[,volume]``; ``ts`` in milliseconds or ISO 8601 (without an offset: UTC).

    StocksBlitzError when a column is missing, no row can be used, or the rows have no timeframe of ours.
    """
    reader = csv.reader(lines)
    columns = _columns(next(reader, []))
    broken: list[Broken] = []
    numbered = list(_ordered(_parsed(reader, columns, broken), broken))
    broken.sort()
    if not numbered:
        why = f"; line {broken[0][0]}: {broken[0][1]}" if broken else ""
        raise StocksBlitzError("invalid_parameter", f"the file holds no row that can be used{why}")
    bars = [bar for _, bar in numbered]
    return Rows(bars, timeframe or _timeframe(bars), broken, _decimals(bars))


def _columns(header: list[str]) -> dict[str, int]:
    names = {name.strip().lower().lstrip("\ufeff"): i for i, name in enumerate(header)}
    time = next((name for name in _TIME_NAMES if name in names), None)
    missing = [name for name in PRICES if name not in names] + ([] if time else ["ts"])
    if missing or time is None:
        raise StocksBlitzError(
            "invalid_parameter",
            f"the first line must name the columns ts,open,high,low,close[,volume]; {', '.join(missing)} missing",
        )
    return {"ts": names[time], **{name: names[name] for name in (*PRICES, "volume") if name in names}}


def _parsed(
    reader: Iterator[list[str]], columns: dict[str, int], broken: list[Broken]
) -> Iterator[tuple[int, Bar]]:
    for line, cells in enumerate(reader, 2):
        if not any(cells):
            continue
        try:
            bar = _bar(cells, columns)
        except (ValueError, IndexError, OverflowError) as error:
            reason = "too few columns" if isinstance(error, IndexError) else str(error)
            broken.append((line, reason))
            continue
        if (wrong := fault(bar)) is not None:
            broken.append((line, wrong))
        else:
            yield line, bar


def _bar(cells: list[str], columns: dict[str, int]) -> Bar:
    opened, high, low, close = (float(cells[columns[name]]) for name in PRICES)
    at = columns.get("volume")
    volume = cells[at].strip() if at is not None and at < len(cells) else ""
    return Bar(_moment(cells[columns["ts"]].strip()), opened, high, low, close, float(volume or 0))


def _moment(text: str) -> int:
    if text.isdigit() and len(text) != 8:
        if int(text) < _SECONDS:
            raise ValueError(f"ts must be in milliseconds, {text} looks like seconds")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"ts {text!r} is neither milliseconds nor ISO 8601") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _ordered(numbered: Iterable[tuple[int, Bar]], broken: list[Broken]) -> Iterator[tuple[int, Bar]]:
    """Leave out what is not later than the row before it, or later than the one after it where that one fits."""
    last, held = -1, None
    for line, bar in numbered:
        if held is not None and last < bar.ts < held[1].ts:
            broken.append((held[0], "its ts is later than that of the next row"))
        elif held is not None:
            if bar.ts <= held[1].ts:
                broken.append((line, "its ts is not later than that of the row before"))
                continue
            last = held[1].ts
            yield held
        held = (line, bar)
    if held is not None:
        yield held


def _timeframe(bars: list[Bar]) -> str:
    distances = Counter(b.ts - a.ts for a, b in pairwise(islice(bars, _JUDGED_BY)))
    names = {length: name for name, length in TIMEFRAMES.items()}
    common = distances.most_common(1)[0][0] if distances else None
    if common not in names:
        what = "there is only one row" if common is None else f"most rows are {common / 1000:g} s apart"
        raise StocksBlitzError(
            "invalid_parameter",
            f"no timeframe fits the rows ({', '.join(TIMEFRAMES)}): {what}; say timeframe=…",
        )
    return names[common]


def _decimals(bars: list[Bar]) -> int:
    shown = (f"{bar.close:.10f}".rstrip("0").partition(".")[2] for bar in islice(bars, _JUDGED_BY))
    return max(2, *(len(each) for each in shown), 0)
