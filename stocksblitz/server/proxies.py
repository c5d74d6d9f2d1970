"""Proxies in front of the web processes: who may say which client a request came from.

uvicorn and Daphne can read these headers too; they are started without, so that ``TRUSTED_PROXIES`` alone decides.
"""

from typing import Any

from django.conf import settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


def behind_proxies(application: Any) -> Any:
    """Return the application behind a reader of X-Forwarded-For and X-Forwarded-Proto.

    Both headers count only where the connection comes from an address in ``TRUSTED_PROXIES``. Of X-Forwarded-For the
    last address that is no such proxy is the client.
    """
    return ProxyHeadersMiddleware(application, trusted_hosts=settings.TRUSTED_PROXIES)
