"""Pages, health, metrics, and the API's description."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.utils.csp import CSP
from django.utils.decorators import method_decorator
from django.views.decorators.csp import csp_override
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from redis.exceptions import RedisError

from stocksblitz.api.json_format import dumps
from stocksblitz.observability import aggregation
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.leases import ALIVE_MS
from stocksblitz.workers.runtime import WORKERS, now_ms


class PageView(LoginRequiredMixin, TemplateView):
    """A page for those who are signed in."""


def healthz(request: HttpRequest) -> HttpResponse:
    """This web process answers."""
    return HttpResponse(dumps({"status": "ok"}), content_type="application/json")


def _redis() -> bool:
    try:
        return bool(sync_client().ping())
    except (RedisError, OSError):
        return False


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True
    except DatabaseError:
        return False


def _workers() -> dict[str, bool]:
    """Which kinds of workers live; of the feed also whether it has handed over its past."""
    since = now_ms() - ALIVE_MS
    pipe = sync_client().pipeline(transaction=False)
    for kind in WORKERS:
        pipe.zcount(current_keys().workers(kind), since, "+inf")
    pipe.exists(current_keys().feed_marker)
    try:
        *alive, complete = pipe.execute()
    except (RedisError, OSError):
        return dict.fromkeys(WORKERS, False)
    found = {kind: count > 0 for kind, count in zip(WORKERS, alive, strict=True)}
    return {**found, "feed": found["feed"] and bool(complete)}


def readyz(request: HttpRequest) -> HttpResponse:
    """Whether everything that a client needs is there; 503 tells what is not."""
    found: dict[str, bool] = {"redis": _redis(), "database": _database(), **_workers()}
    ready = all(found.values())
    body = dumps({"status": "ready" if ready else "not ready", **found})
    return HttpResponse(body, status=200 if ready else 503, content_type="application/json")


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus; the counters of all processes."""
    return HttpResponse(aggregation.render(), content_type="text/plain; version=0.0.4; charset=utf-8")


# The page of the API needs an inline script of its own; nowhere else is one allowed.
_DOCS_CSP: dict[str, Any] = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    "img-src": [CSP.SELF, "data:"],
    "connect-src": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "object-src": [CSP.NONE],
}


class SchemaView(SpectacularAPIView):
    """The description is public, and no request for it is counted."""

    throttle_classes: list[Any] = []


@method_decorator(csp_override(_DOCS_CSP), name="dispatch")
class DocsView(SpectacularSwaggerView):
    throttle_classes: list[Any] = []
