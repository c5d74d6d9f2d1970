"""Errors over REST: every one is a problem as RFC 9457 has it, with a stable code."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from stocksblitz.api.errors import StocksBlitzError

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
CODES = {
    400: "invalid_message",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "unavailable",
}


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return the body of an error (RFC 9457)."""
    return {
        "type": f"urn:stocksblitz:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


def _errors(detail: Any, field: str = "") -> list[dict[str, str]]:
    """Return the messages about a refused body as a flat list: the field, and what was wrong with it."""
    if isinstance(detail, Mapping):
        return [
            e
            for name, each in detail.items()
            for e in _errors(each, f"{field}.{name}" if field else str(name))
        ]
    if isinstance(detail, list | tuple):
        return [e for each in detail for e in _errors(each, field)]
    return [{"field": field, "message": str(detail)}]


def _describe(error: Exception) -> tuple[int, str, str, dict[str, Any]]:
    """Return status, code, detail and further members of the problem that stands for an exception."""
    match error:
        case StocksBlitzError():
            return error.status, error.code, error.message, {}
        case exceptions.ValidationError():
            errors = _errors(error.detail)
            text = "; ".join(
                f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors[:3]
            )
            return 400, "invalid_message", text, {"errors": errors}
        case exceptions.ParseError():
            return 400, "invalid_json", str(error.detail), {}
        case exceptions.APIException():
            status = error.status_code
            return status, CODES.get(status, "error"), str(error.detail), {}
        case Http404():
            return 404, "not_found", str(error) or "there is nothing here", {}
        case PermissionDenied():
            return 403, "forbidden", str(error) or "this is not allowed", {}
        case RedisError() | ConnectionInterrupted() | OperationalError() | InterfaceError():
            log.warning("a store is away: %s", error, extra={"action": "unavailable"})
            return 503, "unavailable", "a store is out of reach: try again in a moment", {}
    log.error("a view failed", exc_info=error, extra={"action": "view_failed"})
    return 500, "internal_error", "the server failed; the failure is in its log", {}


def problem_response(error: Exception, context: Mapping[str, Any] | None = None) -> Response:
    """Turn an exception of a REST view into a problem (DRF's exception handler)."""
    status, code, detail, more = _describe(error)
    response = Response(problem(status, code, detail, **more), status=status, content_type=PROBLEM)
    challenge = getattr(error, "auth_header", None)
    if status == 401:
        response["WWW-Authenticate"] = challenge or "Bearer"
    wait = getattr(error, "wait", None)
    if status in (429, 503):
        response["Retry-After"] = str(int(wait or 0) + 1)
    return response
