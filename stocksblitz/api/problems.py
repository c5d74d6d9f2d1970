"""What every REST view stands on: JSON in and out, errors as RFC 9457 problems, and a throttle that holds everywhere."""

import json
import logging
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.client import realm_keys, sync_client

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
_CODES = {
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


class TooLarge(exceptions.APIException):
    """The body is larger than the setting allows."""

    status_code = 413
    default_code = "too_large"


def _plain(value: object) -> str:
    if isinstance(value, Decimal | Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object) -> bytes:
    """JSON as it goes to clients: NaN becomes null, a Decimal a string, times end in Z."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else dumps(data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


class JSONParser(BaseParser):
    """Strict JSON: no NaN, no name twice, no lone surrogate, no bottomless nesting, no body over the limit."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        raw = stream.read(settings.REST_MAX_BODY + 1)
        if len(raw) > settings.REST_MAX_BODY:
            raise TooLarge(
                f"expected a body of at most {settings.REST_MAX_BODY} bytes, got more: send less at once"
            )
        try:
            data = orjson.loads(raw)
            json.loads(raw, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(f"expected JSON: {error}") from None
        return data


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """The body of an error (RFC 9457)."""
    return {
        "type": f"urn:stocksblitz:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


def _errors(detail: Any, field: str = "") -> list[dict[str, str]]:
    """The messages of a refused body, flat: which field, what was wrong."""
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
    """Status, code, detail and further members of the problem that an exception is."""
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
            return status, _CODES.get(status, "error"), str(error.detail), {}
        case Http404():
            return 404, "not_found", str(error) or "there is nothing here", {}
        case PermissionDenied():
            return 403, "forbidden", str(error) or "this is not allowed", {}
        case RedisError() | OperationalError() | InterfaceError():
            log.warning("a store is away: %s", error, extra={"action": "unavailable"})
            return 503, "unavailable", "a store is out of reach: try again in a moment", {}
    log.error("a view failed", exc_info=error, extra={"action": "view_failed"})
    return 500, "internal_error", "the server failed; the failure is in its log", {}


def problem_response(error: Exception, context: Mapping[str, Any] | None = None) -> Response:
    """DRF's exception handler: every error becomes a problem."""
    status, code, detail, more = _describe(error)
    response = Response(problem(status, code, detail, **more), status=status, content_type=PROBLEM)
    challenge = getattr(error, "auth_header", None)
    if status == 401:
        response["WWW-Authenticate"] = challenge or "Bearer"
    wait = getattr(error, "wait", None)
    if status in (429, 503):
        response["Retry-After"] = str(int(wait or 0) + 1)
    return response


def _plain_problem(status: int, code: str, detail: str) -> HttpResponse:
    return HttpResponse(dumps(problem(status, code, detail)), status=status, content_type=PROBLEM)


def _for_a_person(request: HttpRequest) -> bool:
    """Browsers name HTML when they open a page; programs do not."""
    return "text/html" in request.headers.get("Accept", "")


def _page(
    request: HttpRequest,
    status: int,
    title: str,
    text: str,
    way: str = "/",
    label: str = "Back to the charts",
) -> HttpResponse:
    """What a person sees instead of a problem."""
    shown = {"status": status, "title": title, "text": text, "way": way, "way_label": label}
    return render(request, "refused.html", shown, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _plain_problem(400, "invalid_message", "the request could not be understood")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _for_a_person(request):
        return _page(request, 403, "Not allowed", "This login may not do that.")
    return _plain_problem(403, "forbidden", "this is not allowed")


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token that its page was given: too old, or from somewhere else."""
    if _for_a_person(request):
        text = "The page was open for too long, or this browser keeps no cookies. Load it again and repeat what you did."
        return _page(request, 403, "That form has expired", text, request.path, "Load it again")
    return _plain_problem(403, "forbidden", f"{reason} Send the token of the page as X-CSRFToken")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _for_a_person(request):
        return _page(request, 404, "There is nothing here", "This address leads nowhere.")
    return _plain_problem(404, "not_found", "there is no such page or route: see /api/docs")


def server_error(request: HttpRequest) -> HttpResponse:
    if _for_a_person(request):
        return render(request, "500.html", status=500)
    return _plain_problem(500, "internal_error", "the server failed; the failure is in its log")


def locked_out(request: HttpRequest, credentials: Any = None) -> HttpResponse:
    """What somebody gets who has guessed passwords for too long."""
    wait_s = int(float(settings.AXES_COOLOFF_TIME) * 3600)
    text = f"Too many failed sign-ins: wait {wait_s // 60} minutes."
    if _for_a_person(request):
        response = _page(request, 429, "Try again later", text, "/login", "Back to the login")
    else:
        response = _plain_problem(429, "rate_limited", text)
    response["Retry-After"] = str(wait_s)
    return response


# A bucket as one number: the moment at which it would be empty of debts (GCRA). Redis's own clock, so that the clocks
# of several servers do not matter.
_BUCKET = """
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local due = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now) + tonumber(ARGV[1])
local wait = due - now - tonumber(ARGV[2])
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.ceil(due - now) + 1)
return 0
"""
MINUTE_MS = 60_000


@cache
def _bucket() -> Any:
    return sync_client().register_script(_BUCKET)


def take(scope: str, who: str, per_minute: int) -> int:
    """Count one request; returns 0 when it may pass, else the milliseconds to wait. One bucket for all processes."""
    name = realm_keys(mock=False).name("bucket", scope, who)
    return int(_bucket()(keys=[name], args=[MINUTE_MS / max(1, per_minute), MINUTE_MS]))


class UserThrottle(BaseThrottle):
    """So many requests a minute per user, or per address where nobody is signed in.

    A view with ``throttle_scope = "auth"`` is counted per address with a limit of its own. When Redis is away requests
    pass: what needs Redis says so itself.
    """

    _wait_ms = 0

    def allow_request(self, request: Request, view: Any) -> bool:
        user_id = getattr(request.user, "pk", None)
        address = str(request.META.get("REMOTE_ADDR", ""))
        try:
            if getattr(view, "throttle_scope", "") == "auth":
                self._wait_ms = take("auth", address, settings.AUTH_REQUESTS_PER_MINUTE)
            else:
                self._wait_ms = take("rest", str(user_id or address), settings.REST_REQUESTS_PER_MINUTE)
        except RedisError:
            return True
        return self._wait_ms == 0

    def wait(self) -> float:
        return self._wait_ms / 1000
