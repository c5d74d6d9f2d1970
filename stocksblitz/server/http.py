"""HTTP under ASGI: static files first, then each request wholly in one thread.

Django's own handler changes between the event loop and a fresh thread for the middleware, the view and the end of each
request, and opens a database connection for each of these threads. Here one pooled thread does all of it and keeps its
connection, which takes about half the time of a small request.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
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
from stocksblitz.server.places import working

WAITING = 512
"""Requests that may be in work, or wait for a computation, at the same time."""
WORKING = 8
"""Of these at most so many run at the same time: Python runs one at a time, and the others wait for a store."""
KEPT = 64
"""Threads that keep their database connection from one request to the next."""
PROBED = frozenset({"/healthz", "/readyz", "/metrics"})
"""What operators ask for: answered by threads of their own, however many requests wait."""
PROBES = 4
"""These threads; the routes are quick, and few ask."""

type Scope = dict[str, Any]
type Parts = tuple[int, list[tuple[bytes, bytes]], bytes]


def _parts(response: HttpResponseBase) -> Parts:
    """Return status, headers and body as ASGI sends them."""
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    headers += [
        (b"Set-Cookie", morsel.output(header="").strip().encode()) for morsel in response.cookies.values()
    ]
    return response.status_code, headers, b"".join(response)


class BodyTooLarge(Exception):
    """A body of more than ``REST_MAX_BODY`` bytes."""


async def read_body(receive: Any) -> bytes:
    """Return the body of a request; BodyTooLarge as soon as more than ``REST_MAX_BODY`` bytes have come."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        body += message.get("body", b"")
        if len(body) > settings.REST_MAX_BODY:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return bytes(body)


def with_length(scope: Scope, length: int) -> Scope:
    """Return the scope with a Content-Length: a body that came in chunks has none, and parsers would skip it."""
    if any(name == b"content-length" for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"content-length", str(length).encode())]}


class ThreadedHandler(ASGIHandler):
    """The Django application; the middleware runs in its synchronous form."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(WAITING, thread_name_prefix="http")
        self._probes = ThreadPoolExecutor(PROBES, thread_name_prefix="probe")
        self._places = threading.Semaphore(WORKING)
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            body = await read_body(receive)
        except RequestAborted:
            return
        except BodyTooLarge:
            await _send(send, (413, [(b"connection", b"close")], b""))
            return
        aggregation.start()
        run = asyncio.get_running_loop().run_in_executor
        scope = with_length(scope, len(body))
        if scope["path"] in PROBED:
            await _send(send, await run(self._probes, self._serve, scope, body))
            return
        self._busy += 1
        try:
            parts = await run(self._threads, self._serve_in_turn, scope, body)
        finally:
            self._busy -= 1
        await _send(send, parts)

    def _serve_in_turn(self, scope: Scope, body: bytes) -> Parts:
        with working(self._places):
            return self._serve(scope, body)

    def _serve(self, scope: Scope, body: bytes) -> Parts:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, BytesIO(body))
        response: Any = refusal if request is None else self.get_response(request)
        response._handler_class = self.__class__
        try:
            return _parts(response)
        finally:
            response.close()  # ends the request for Django too: old connections are closed
            if self._busy > KEPT:
                connections.close_all()


async def _send(send: Any, parts: Parts) -> None:
    status, headers, content = parts
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def not_kept(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that forbids caches to keep responses: tokens, accounts and pages belong to one user."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return answer


def _nosniff(headers: Headers, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"


def with_static(application: Any) -> Any:
    """Return the application behind its static files: the collected ones, else those of the source folders."""
    served = ServeStaticASGI(
        application,
        autorefresh=settings.DEBUG,  # a file that was edited is otherwise sent with its old length
        max_age=0 if settings.DEBUG else 3600,
        add_headers_function=_nosniff,
    )
    if Path(settings.STATIC_ROOT).is_dir():
        roots = [str(settings.STATIC_ROOT)]
    else:
        roots = [
            storage.location
            for finder in get_finders()
            for storage in getattr(finder, "storages", {}).values()
        ]
    for root in reversed(roots):  # the first that has a file wins
        served.add_files(root, prefix=settings.STATIC_URL)

    async def route(scope: Scope, receive: Any, send: Any) -> None:
        # In development the files are looked up anew, in few threads: no other request waits for those.
        chosen: Any = served if scope["path"].startswith(settings.STATIC_URL) else application
        await chosen(scope, receive, send)

    return route
