"""How many REST requests a user or an address may make: one limit for all processes."""

from django.conf import settings
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from stocksblitz.redis.client import realm_keys
from stocksblitz.redis.rate_limit import RateLimit, Turn, take


def count_request(scope: str, who: str, per_minute: int) -> Turn:
    """Count one request of somebody and return its turn; all requests of a minute may come at once."""
    key = realm_keys(mock=False).name("bucket", scope, who)
    return take(key, RateLimit(calls=max(1, per_minute), per_s=60, burst=max(1, per_minute)))


class UserThrottle(BaseThrottle):
    """Limit of requests a minute per user, or per address where nobody is signed in.

    A view with ``throttle_scope = "auth"`` is counted per address with a limit of its own. When Redis is away requests
    pass: what needs Redis says so itself.
    """

    _wait_s = 0.0

    def allow_request(self, request: Request, view: object) -> bool:
        """Return whether the request may pass, and count it then."""
        try:
            turn = self._turn(request, view)
        except RedisError:
            return True
        self._wait_s = turn.wait_s
        return turn.accepted

    def _turn(self, request: Request, view: object) -> Turn:
        address = str(request.META.get("REMOTE_ADDR", ""))
        if getattr(view, "throttle_scope", "") == "auth":
            return count_request("auth", address, settings.AUTH_REQUESTS_PER_MINUTE)
        user_id = getattr(request.user, "pk", None)
        return count_request("rest", str(user_id or address), settings.REST_REQUESTS_PER_MINUTE)

    def wait(self) -> float:
        """Return the seconds after which the request may be sent again."""
        return self._wait_s
