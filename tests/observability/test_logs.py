"""What a log line says, and what it does not."""

import io
import logging

import pytest
from django.core.exceptions import DisallowedHost
from redis.exceptions import BusyLoadingError, ConnectionError

from stocksblitz.observability import logs


@pytest.fixture
def written(request):
    """Logs as the processes do, into a text; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("django", "django.server", "django.request")
    others = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).filters[:]) for name in names
    }
    logs.configure({"format": request.param, "level": "INFO"})
    text = io.StringIO()
    root.handlers[0].setStream(text)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, (own, filters) in others.items():
        logging.getLogger(name).handlers[:], logging.getLogger(name).filters[:] = own, filters


def said_of(error, written):
    try:
        raise error
    except Exception:
        logging.getLogger("django.security").exception("it failed")
    return written.getvalue()


@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
@pytest.mark.parametrize(
    "error", [ConnectionError("refused"), BusyLoadingError("loading"), DisallowedHost("x")]
)
def test_what_is_no_fault_of_ours_has_no_trace(written, error):
    said = said_of(error, written)
    assert "it failed" in said
    assert "Traceback" not in said
    assert "\n" not in said.strip()


@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
def test_a_fault_of_ours_has_its_trace(written):
    assert "KeyError" in said_of(KeyError("ours"), written)
