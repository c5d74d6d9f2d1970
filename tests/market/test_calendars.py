"""Sessions of exchanges."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.calendars.session_table import decode_table, encode_table
from stocksblitz.redis.decoding import BadData
from tests.market.exchange_times import bar_end, bar_open, is_open


def ms(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def span(exchange, text):
    session = calendars.session_at(exchange, ms(text))
    return session.open, session.close


@pytest.mark.parametrize(
    ("exchange", "moment", "opens", "closes"),
    [
        ("24x7", "2026-11-21T13:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        ("XNSE", "2026-11-20T05:00:00Z", "2026-11-20T09:15:00+05:30", "2026-11-20T15:30:00+05:30"),
        ("XNYS", "2026-07-01T15:00:00Z", "2026-07-01T09:30:00-04:00", "2026-07-01T16:00:00-04:00"),
        ("XNYS", "2026-12-01T15:00:00Z", "2026-12-01T09:30:00-05:00", "2026-12-01T16:00:00-05:00"),
        (
            "XNAS",
            "2026-11-27T15:00:00Z",
            "2026-11-27T09:30:00-05:00",
            "2026-11-27T13:00:00-05:00",
        ),  # short Friday
        ("24x5", "2026-11-18T12:00:00Z", "2026-11-17T17:00:00-05:00", "2026-11-18T17:00:00-05:00"),
        ("24x5", "2026-07-15T12:00:00Z", "2026-07-14T17:00:00-04:00", "2026-07-15T17:00:00-04:00"),
        (
            "24x5",
            "2026-11-21T12:00:00Z",
            "2026-11-19T17:00:00-05:00",
            "2026-11-20T17:00:00-05:00",
        ),  # a Saturday
        (
            "24x5",
            "2026-11-22T23:00:00Z",
            "2026-11-22T17:00:00-05:00",
            "2026-11-23T17:00:00-05:00",
        ),  # Sunday night
        ("XCME", "2024-01-05T12:00:00Z", "2024-01-04T17:00:00-06:00", "2024-01-05T16:00:00-06:00"),
        ("XNSE", "2026-11-08T13:00:00Z", "2026-11-08T18:00:00+05:30", "2026-11-08T19:00:00+05:30"),  # Muhurat
        ("XNSE", "2025-10-21T09:00:00Z", "2025-10-21T13:45:00+05:30", "2025-10-21T14:45:00+05:30"),  # Muhurat
        (
            "XBOM",
            "2026-02-01T06:00:00Z",
            "2026-02-01T09:15:00+05:30",
            "2026-02-01T15:30:00+05:30",
        ),  # a Sunday
    ],
)
def test_a_moment_lies_in_the_session_of_its_trading_day(exchange, moment, opens, closes):
    assert span(exchange, moment) == (ms(opens), ms(closes))


@pytest.mark.parametrize(
    ("exchange", "holiday"),
    [
        ("XNSE", "2026-01-26"),
        ("XNSE", "2024-05-20"),
        ("XNYS", "2026-12-25"),
        ("XCME", "2024-03-29"),
        ("24x5", "2026-12-25"),
    ],
)
def test_a_holiday_has_no_session(exchange, holiday):
    assert not is_open(exchange, ms(f"{holiday}T06:00:00Z"))
    assert not is_open(exchange, ms(f"{holiday}T16:00:00Z"))


def test_what_follows_the_close_belongs_to_the_session_until_the_next_one_opens():
    friday = calendars.session_at("XNSE", ms("2026-11-20T05:00:00Z"))
    assert calendars.session_at("XNSE", friday.close) == friday
    assert calendars.session_at("XNSE", friday.until - 1) == friday
    assert friday.until == ms("2026-11-23T09:15:00+05:30")
    assert calendars.session_at("XNSE", ms("2026-11-21T05:00:00Z")).until == friday.until
    assert is_open("XNSE", friday.close - 1)
    assert not is_open("XNSE", friday.close)


@pytest.mark.parametrize(
    ("exchange", "timeframe", "moment", "begins"),
    [
        ("XNSE", "1h", "2026-11-20T10:20:00+05:30", "2026-11-20T10:15:00+05:30"),
        ("XNSE", "1h", "2026-11-20T09:15:00+05:30", "2026-11-20T09:15:00+05:30"),
        ("XNSE", "4h", "2026-11-20T15:00:00+05:30", "2026-11-20T13:15:00+05:30"),
        ("XNSE", "30min", "2026-11-20T09:50:00+05:30", "2026-11-20T09:45:00+05:30"),
        ("XNSE", "1d", "2026-11-20T15:00:00+05:30", "2026-11-20T09:15:00+05:30"),
        ("XNYS", "1h", "2020-12-15T21:00:00Z", "2020-12-15T20:30:00Z"),  # the closing auction's row
        ("XNYS", "5min", "2020-12-15T21:00:00Z", "2020-12-15T20:55:00Z"),
        ("XNYS", "4h", "2026-03-09T17:31:00Z", "2026-03-09T17:30:00Z"),  # the first day of summer time
        ("24x5", "4h", "2026-11-18T02:30:00Z", "2026-11-18T02:00:00Z"),
        ("24x7", "4h", "2026-11-18T07:30:00Z", "2026-11-18T04:00:00Z"),
    ],
)
def test_bars_are_anchored_to_the_session(exchange, timeframe, moment, begins):
    assert bar_open(exchange, timeframe, ms(moment)) == ms(begins)


def test_the_last_bar_of_a_session_ends_with_it():
    assert bar_end("XNSE", "1h", ms("2026-11-20T15:20:00+05:30")) == ms("2026-11-20T15:30:00+05:30")
    assert bar_end("XNSE", "1h", ms("2026-11-20T14:20:00+05:30")) == ms("2026-11-20T15:15:00+05:30")


def test_continuous_sessions_open_with_the_exchange_and_never_close():
    saturday = calendars.session_at("continuous:XNSE", ms("2026-11-21T20:00:00Z"))
    assert saturday.open == ms("2026-11-21T09:15:00+05:30")
    assert saturday.close == saturday.until == ms("2026-11-22T09:15:00+05:30")
    clocks_go_back = calendars.session_at("continuous:XNAS", ms("2026-10-31T20:00:00Z"))
    assert clocks_go_back.close - clocks_go_back.open == 25 * 3_600_000


def test_sessions_never_overlap_and_never_leave_a_moment_without_one():
    for exchange in ("XNSE", "XNYS", "24x5", "XCME", "continuous:XNAS", "XTKS"):
        at = ms("2025-12-20T00:00:00Z")
        session = calendars.session_at(exchange, at)
        while session.open < ms("2027-01-20T00:00:00Z"):
            assert session.open < session.close <= session.until
            following = calendars.session_at(exchange, session.until)
            assert following.open == session.until
            session = following


def test_a_year_that_no_calendar_covers_goes_on_with_the_ordinary_week_and_says_so():
    republic_day = calendars.session_at("XNSE", ms("2029-01-26T06:00:00Z"))
    assert republic_day.open == ms("2029-01-26T09:15:00+05:30")
    assert not republic_day.certain
    assert calendars.session_at("XNSE", ms("2026-11-20T06:00:00Z")).certain
    for exchange in ("XNSE", "XNYS", "24x5"):
        assert all(calendars.table_of_years(exchange, range(2026, 2026)).certain)
    assert calendars.session_at("XNYS", ms("2031-03-03T15:00:00Z")).certain


def test_an_unknown_exchange_is_a_clear_error():
    with pytest.raises(StocksBlitzError, match="24x7, 24x5 or a market identifier code") as error:
        calendars.session_at("NYSE", ms("2026-11-20T06:00:00Z"))
    assert error.value.code == "invalid_parameter"


def test_a_table_finds_the_sessions_that_the_calendar_has():
    years = range(2025, 2027)
    table = decode_table(encode_table(calendars.table_of_years("XNSE", years)))
    for text in (
        "2025-01-01T00:00:00Z",
        "2025-10-21T09:00:00Z",
        "2026-11-20T05:00:00Z",
        "2026-12-31T23:00:00Z",
    ):
        assert table.session_at(ms(text)) == calendars.session_at("XNSE", ms(text))
    for text in ("2020-01-01T00:00:00Z", "2031-01-01T00:00:00Z"):
        with pytest.raises(StocksBlitzError, match="sessions are known from 2024 to 2027"):
            table.session_at(ms(text))


JUNK_TABLES = [
    b"[[1,2],[2,3],[true,true]]",
    b"[[2,1],[2,3],[true,true]]",
    b"[[1],[2],[true]]",
    b"null",
    b'{"error":1}',
]


@given(st.binary(max_size=40) | st.sampled_from(JUNK_TABLES))
def test_any_bytes_are_a_table_or_bad_data(raw):
    try:
        table = decode_table(raw)
    except BadData:
        return
    assert table.session_at(table.opens[0]).open == table.opens[0]
