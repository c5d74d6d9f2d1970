"""Structured logs: one line an event, with what an operator needs as fields; secrets never reach one."""

import logging
import re
import sys
from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisSlow

_SECRET = re.compile(r"((?:token|ticket|access|refresh|password|api[-_]?key)=)[^&\s\"']+", re.IGNORECASE)


class RedactSecrets(logging.Filter):
    """Takes the values of tokens and tickets out of request lines before anything writes them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and record.args:
            record.msg, record.args = record.getMessage(), None
        if isinstance(record.msg, str):
            record.msg = _SECRET.sub(r"\1…", record.msg)
        return True


def _without_request(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Django hands whole requests to its loggers: they are neither short nor free of secrets."""
    event.pop("request", None)
    event.pop("message", None)
    return event


class OnlyFailures(logging.Filter):
    """Of Django's lines about requests those about a failure of ours: what a client did wrong it has been told."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", 500) == 500


class InOneLine(logging.Filter):
    """Without a trace: Redis away, which everything notices wherever it is, and what clients send that Django refuses."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RedisAway | RedisSlow):
            record.msg, record.args = f"{record.getMessage()}: {error}", None
            record.exc_info = record.exc_text = None
        elif isinstance(error, SuspiciousOperation):
            record.exc_info = record.exc_text = None
        return True


def configure(options: dict[str, Any]) -> None:
    """Send every log line through one handler, as text for people or JSON for machines (``LOG_FORMAT``)."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _without_request,
    ]
    as_json = options["format"] == "json"
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    tail: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        tail.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(InOneLine())
    handler.addFilter(RedactSecrets())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[*tail, renderer], foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options["level"])
    for name in ("django", "django.server"):  # Django has set up its own before
        logging.getLogger(name).handlers.clear()
    for name, level in {
        "daphne": "WARNING",
        "axes": "WARNING",
        "httpx": "WARNING",
        "numba": "WARNING",
    }.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("django.request").addFilter(OnlyFailures())
    guard_server_logs()


def guard_server_logs() -> None:
    """Redact what the server itself logs: it sets its loggers up on its own, with the request's whole address."""
    for name in ("uvicorn.error", "uvicorn.access", "django.request", "django.server", "daphne.server"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, RedactSecrets) for each in logger.filters):
            logger.addFilter(RedactSecrets())
