"""The ASGI application: HTTP through Django, WebSockets through Channels."""

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
django.setup()

# Consumers import models, which need Django to be set up.
from indicators.consumers import IndicatorConsumer
from portfolio.consumers import PortfolioConsumer
from stocksblitz.delivery.consumers import NoSuchSocket
from stocksblitz.observability.logs import guard_server_logs
from stocksblitz.server.http import ThreadedHandler, with_static
from stocksblitz.server.proxies import behind_proxies

guard_server_logs()

application = behind_proxies(
    ProtocolTypeRouter(
        {
            "http": with_static(ThreadedHandler()),
            "websocket": URLRouter(
                [
                    path("ws/indicators", IndicatorConsumer.as_asgi()),
                    path("ws/portfolio", PortfolioConsumer.as_asgi()),
                    re_path("", NoSuchSocket.as_asgi()),
                ]
            ),
        }
    )
)
