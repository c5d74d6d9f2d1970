"""The usual way with Channels: a consumer that joins a group, and a layer that brings it each message.

The message comes as finished text, so that nothing but the delivery itself is measured.
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

import django  # needs the settings above

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class Group(AsyncWebsocketConsumer):
    groups = [GROUP]

    async def market_update(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": Group.as_asgi()})
