"""Errors outside of REST views: a page for a person, a problem for a program, the same with and without ``DEBUG``."""

from collections.abc import Callable, ItemsView
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from stocksblitz.api.json_format import dumps
from stocksblitz.api.problems import PROBLEM, problem


def _plain_problem(status: int, code: str, detail: str) -> HttpResponse:
    return HttpResponse(dumps(problem(status, code, detail)), status=status, content_type=PROBLEM)


def _for_a_person(request: HttpRequest) -> bool:
    """Return whether a browser opens a page: it names HTML, and programs do not."""
    return "text/html" in request.headers.get("Accept", "")


def _page(
    request: HttpRequest,
    status: int,
    title: str,
    text: str,
    way: str = "/",
    label: str = "Back to the charts",
) -> HttpResponse:
    """Return the page that a person sees instead of a problem."""
    shown = {"status": status, "title": title, "text": text, "way": way, "way_label": label}
    return render(request, "refused.html", shown, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request that Django refuses to understand (400)."""
    if _for_a_person(request):
        return _page(request, 400, "Not understood", "This server does not take requests of this kind.")
    return _plain_problem(400, "invalid_message", "the request could not be understood")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request for a page that this login may not open (403)."""
    if _for_a_person(request):
        return _page(request, 403, "Not allowed", "This login may not do that.")
    return _plain_problem(403, "forbidden", "this is not allowed")


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a form that lacks the token of its page: it is too old, or comes from another site."""
    if _for_a_person(request):
        text = "The page was open for too long, or this browser keeps no cookies. Load it again and repeat what you did."
        return _page(request, 403, "That form has expired", text, request.path, "Load it again")
    return _plain_problem(403, "forbidden", f"{reason} Send the token of the page as X-CSRFToken")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request for an address without a page or route (404)."""
    if _for_a_person(request):
        return _page(request, 404, "There is nothing here", "This address leads nowhere.")
    return _plain_problem(404, "not_found", "there is no such page or route: see /api/docs")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request whose view failed (500); the log has the failure."""
    if _for_a_person(request):
        return render(request, "500.html", status=500)
    return _plain_problem(500, "internal_error", "the server failed; the failure is in its log")


def locked_out(request: HttpRequest, credentials: Any = None) -> HttpResponse:
    """Refuse a sign-in after too many failed ones."""
    wait_s = int(float(settings.AXES_COOLOFF_TIME) * 3600)
    text = f"Too many failed sign-ins: wait {wait_s // 60} minutes."
    if _for_a_person(request):
        response = _page(request, 429, "Try again later", text, "/login", "Back to the login")
    else:
        response = _plain_problem(429, "rate_limited", text)
    response["Retry-After"] = str(wait_s)
    return response


class NotFound:
    """Middleware that answers a view's Http404 itself: with ``DEBUG=1`` Django would list every route."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the response to an Http404; None leaves other exceptions to Django."""
        return not_found(request, exception) if isinstance(exception, Http404) else None


class QuietReporter(ExceptionReporter):
    """Django's report of an exception, made as empty as in production: the failure is in the log, and nowhere else.

    With ``DEBUG=1`` Django would send settings, source and the variables of every frame to whoever caused the failure.
    """

    def _response(self) -> HttpResponse:
        request = self.request or HttpRequest()
        if isinstance(self.exc_value, BadRequest | SuspiciousOperation):
            return bad_request(request)
        return server_error(request)

    def get_traceback_html(self) -> SafeString:
        """Return what a browser is shown."""
        return mark_safe(self._response().content.decode())

    def get_traceback_text(self) -> SafeString:
        """Return what a program is told."""
        return self.get_traceback_html()


class NothingReported(SafeExceptionReporterFilter):
    """Filter that lets no setting and no variable into a report, whoever makes one."""

    def get_safe_settings(self) -> dict[str, Any]:
        return {}

    def get_safe_request_meta(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> ItemsView[str, Any]:
        return {}.items()
