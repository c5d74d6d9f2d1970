"""Deliver updates in the usual way of Channels: a consumer joins a group, and the channel layer sends it each message.

The message is published as finished text, so that only the delivery is measured.
"""

import os

from django.conf import settings

GROUP = "stream"

if not settings.configured:
    settings.configure(
        SECRET_KEY="a-benchmark-has-no-secrets",
        INSTALLED_APPS=["daphne", "channels"],
        CHANNEL_LAYERS={
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [os.environ["REDIS_URL"]], "prefix": os.environ["BENCH_LAYER"]},
            }
        },
    )

import django  # it needs the settings above

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class Group(AsyncWebsocketConsumer):
    """Consumer that belongs to one group and sends each of the group's messages to its client."""

    groups = [GROUP]

    async def market_update(self, event: dict[str, str]) -> None:
        """Send the text of a group message."""
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": Group.as_asgi()})
