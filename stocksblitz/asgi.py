"""The ASGI application: HTTP through Django, WebSockets through Channels."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
http = get_asgi_application()

# Consumers import models, so Django must have been set up.
from indicators.consumers import IndicatorConsumer  # noqa: E402
from stocksblitz.delivery.consumers import NoSuchSocket  # noqa: E402
from stocksblitz.logs import guard_server_logs  # noqa: E402

guard_server_logs()

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("ws/indicators", IndicatorConsumer.as_asgi()),
                re_path("", NoSuchSocket.as_asgi()),
            ]
        ),
    }
)
