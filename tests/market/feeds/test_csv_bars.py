"""Bars out of CSV files."""

import pytest

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.feeds.replay.csv_bars import read_rows
from tests.market.feeds.reading import file_bars

HEADER = "ts,open,high,low,close,volume"
GOOD = [f"2026-11-18T10:0{i}:00Z,10,11,9,10.5,{i}" for i in range(5)]


def test_real_files_come_out_as_they_are(data):
    for name, timeframe in (
        ("SPY_1min", "1min"),
        ("GBPUSD_1min", "1min"),
        ("SPY_1d", "1d"),
    ):
        path = data / "bars" / f"{name}.csv"
        with path.open() as lines:
            rows = read_rows(lines)
        assert rows.bars == file_bars(path)
        assert (rows.timeframe, rows.broken) == (timeframe, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("yesterday,10,11,9,10.5,1", "neither milliseconds nor ISO 8601"),
        ("01/03/2017,10,11,9,10.5,1", "neither milliseconds nor ISO 8601"),
        ("1763460300,10,11,9,10.5,1", "looks like seconds"),
        ("2026-11-18T10:02:30Z,ten,11,9,10.5,1", "could not convert"),
        ("2026-11-18T10:02:30Z,10,11,9", "too few columns"),
        ("2026-11-18T10:02:30Z,nan,11,9,10.5,1", "not finite"),
        ("2026-11-18T10:02:30Z,0,0,0,0,0", "above 0"),
        ("2026-11-18T10:02:30Z,10,9,11,10,0", "do not enclose"),
        ("2026-11-18T10:02:30Z,10,11,9,10.5,-4", "volume"),
        ("2026-11-18T10:02:00Z,10,11,9,10.5,1", "not later than that of the row before"),
        ("2026-11-18T09:59:00Z,10,11,9,10.5,1", "not later than that of the row before"),
        ("2099-01-01T00:00:00Z,10,11,9,10.5,1", "later than that of the next row"),
    ],
)
def test_a_broken_row_is_named_by_its_line_and_skipped(line, reason):
    rows = read_rows([HEADER, *GOOD[:3], line, *GOOD[3:]])
    assert len(rows.bars) == 5
    assert [number for number, _ in rows.broken] == [5]
    assert reason in rows.broken[0][1]


def test_milliseconds_blank_lines_and_missing_volumes_are_understood():
    lines = [
        "\ufeffTS, Open ,high,low,close,volume",
        "1763460300000,1,2,0.5,1.5,",
        "",
        "1763460360000,1,2,0.5,1.5",
    ]
    rows = read_rows(lines)
    assert [(bar.ts, bar.volume) for bar in rows.bars] == [(1763460300000, 0.0), (1763460360000, 0.0)]
    assert rows.broken == []


@pytest.mark.parametrize(
    ("seconds", "timeframe"), [(60, "1min"), (300, "5min"), (14_400, "4h"), (86_400, "1d")]
)
def test_the_timeframe_is_found_from_most_rows(seconds, timeframe):
    starts = [*range(0, 20 * seconds, seconds), 40 * seconds]
    rows = read_rows([HEADER, *(f"{1763460300000 + 1000 * at},1,2,0.5,1.5,1" for at in starts)])
    assert rows.timeframe == timeframe


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "must name the columns"),
        (["a,b,c"], "open, high, low, close, ts missing"),
        ([HEADER], "no row that can be used"),
        ([HEADER, "x,1,2,3,4,5"], "line 2"),
        ([HEADER, GOOD[0]], "only one row"),
        ([HEADER, *(f"{1763460300000 + 7000 * i},1,2,0.5,1.5,1" for i in range(9))], "7 s apart"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_clear_error(lines, message):
    with pytest.raises(StocksBlitzError, match=message):
        read_rows(lines)


def test_one_row_is_enough_when_the_timeframe_is_said():
    assert read_rows([HEADER, GOOD[0]], "5min").timeframe == "5min"


def test_broken_files_of_others(data):
    """Their dates are no ISO 8601 and their numbers partly absurd: each line is named, one error is raised."""
    for name in ("bad", "zeros", "max", "toobig"):
        with (
            (data / "bars" / "edge" / f"{name}.csv").open(encoding="utf-8-sig") as lines,
            pytest.raises(StocksBlitzError),
        ):
            read_rows(lines)
    with (data / "bars" / "edge" / "penny.csv").open(encoding="utf-8-sig") as lines:
        rows = read_rows(lines)
    assert rows.timeframe == "1d"
    assert len(rows.bars) + len(rows.broken) == 533
