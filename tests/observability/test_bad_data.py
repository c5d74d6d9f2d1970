"""Bad data is skipped, counted, and logged once while it lasts."""

import logging

import pytest

from stocksblitz.observability.bad_data import MAX_SUBJECTS, BadDataLog
from stocksblitz.observability.metrics import REGISTRY
from stocksblitz.redis.decoding import BadData

BAD = BadData("ts", b"soon", "a number")


def counted(name: str) -> float:
    return REGISTRY.get_sample_value("stocksblitz_bad_data_total", {"format": name}) or 0.0


def subjects(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.__dict__["subject"] for record in caplog.records if record.__dict__.get("action") == "bad_data"
    ]


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "stocksblitz.observability.bad_data")


def test_a_bad_subject_is_logged_once_until_it_was_good_again(caplog: pytest.LogCaptureFixture) -> None:
    skipped = BadDataLog("once")
    found: list[object] = []
    for raw in (1, None, None, 2, None):
        with skipped.skip("EURUSD", lambda: found.append("otherwise")):
            if raw is None:
                raise BAD
            found.append(raw)
    assert found == [1, "otherwise", "otherwise", 2, "otherwise"]
    assert subjects(caplog) == ["EURUSD", "EURUSD"]
    assert counted("once") == 3


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), BadDataLog("others").skip("EURUSD"):
        raise ZeroDivisionError


def test_one_read_of_many_subjects(caplog: pytest.LogCaptureFixture) -> None:
    skipped = BadDataLog("many")
    skipped.record(["A", "B"], {"C": BAD, "D": BAD})
    skipped.record(["C"], {"D": BAD})
    skipped.record([], {"C": BAD})
    assert subjects(caplog) == ["C", "D", "C"]


def test_many_faults_of_one_subject(caplog: pytest.LogCaptureFixture) -> None:
    skipped = BadDataLog("one")
    for errors in ([BAD, BAD], [BAD], [], [BAD]):
        skipped.record_all("EURUSD 1min", errors)
    assert subjects(caplog) == ["EURUSD 1min", "EURUSD 1min"]
    assert counted("one") == 4


def test_hostile_subjects_are_counted_without_filling_log_and_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    skipped = BadDataLog("hostile")
    for number in range(MAX_SUBJECTS + 50):
        skipped.report(f"S{number}", BAD)
    assert len(subjects(caplog)) == MAX_SUBJECTS
    assert counted("hostile") == MAX_SUBJECTS + 50
