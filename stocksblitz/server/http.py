"""HTTP under ASGI: static files first, then each request wholly in one thread.

Django's own handler goes to and fro between the event loop and a fresh thread for the middleware, the view and the end of
each request, and opens a database connection for each of these threads. Here one pooled thread does it all, and keeps its
connection: about half the time of a small request.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import set_script_prefix
from servestatic.asgi import ServeStaticASGI

from stocksblitz.observability import aggregation

WAITING = 512
"""Requests that may be in work, or wait for a computation, at the same time."""
KEPT = 64
"""Threads that keep their database connection from one request to the next."""

type Scope = dict[str, Any]
type Parts = tuple[int, list[tuple[bytes, bytes]], bytes]


def _parts(response: HttpResponseBase) -> Parts:
    """Status, headers and body, as ASGI sends them."""
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    headers += [
        (b"Set-Cookie", morsel.output(header="").strip().encode()) for morsel in response.cookies.values()
    ]
    return response.status_code, headers, b"".join(response)


class ThreadedHandler(ASGIHandler):
    """The Django application; the middleware runs in its synchronous form."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(WAITING, thread_name_prefix="http")
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        aggregation.start()
        self._busy += 1
        try:
            loop = asyncio.get_running_loop()
            status, headers, content = await loop.run_in_executor(self._threads, self._serve, scope, body)
        finally:
            self._busy -= 1
            body.close()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _serve(self, scope: Scope, body: Any) -> Parts:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response: Any = refusal if request is None else self.get_response(request)
        response._handler_class = self.__class__
        try:
            return _parts(response)
        finally:
            response.close()  # tells that the request is over: old connections are closed
            if self._busy > KEPT:
                connections.close_all()


def not_kept(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: what is answered is one's own (tokens, accounts, pages), and kept by no cache."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return answer


def _nosniff(headers: Headers, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"


def with_static(application: Any) -> Any:
    """The application behind its static files: those collected, else where they lie in the source."""
    served = ServeStaticASGI(
        application,
        autorefresh=settings.DEBUG,  # else a file that is edited is sent with the length it had
        max_age=0 if settings.DEBUG else 3600,
        add_headers_function=_nosniff,
    )
    if Path(settings.STATIC_ROOT).is_dir():
        roots = [str(settings.STATIC_ROOT)]
    else:
        roots = [
            each.location for finder in get_finders() for each in getattr(finder, "storages", {}).values()
        ]
    for root in reversed(roots):  # the first that has a file wins
        served.add_files(root, prefix=settings.STATIC_URL)
    return served
