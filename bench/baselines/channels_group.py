"""Run Channels' `group_send` on the pub/sub layer of channels_redis, served by Daphne or by uvicorn."""

from collections.abc import Awaitable, Callable

from channels_redis.pubsub import RedisPubSubChannelLayer

from bench.harness import LOOPBACK, Process, Rig, free_port

APP = "bench.baselines.channels_app:application"
GROUP = "stream"
UVICORN = [
    "--log-level",
    "warning",
    "--ws",
    "websockets-sansio",
    "--ws-per-message-deflate",
    "false",
    "--lifespan",
    "off",
]


def start(rig: Rig, server: str) -> Process:
    """Start the Channels application on ``server`` (daphne or uvicorn), with a Redis prefix per server."""
    port = free_port()
    argv = {
        "daphne": ["daphne", "-b", LOOPBACK, "-p", str(port), "-v", "0", APP],
        "uvicorn": ["uvicorn", "--host", LOOPBACK, "--port", str(port), *UVICORN, APP],
    }[server]
    env = {"BENCH_LAYER": f"bench-{server}", "DJANGO_SETTINGS_MODULE": ""}
    return rig.serving(rig.python(f"channels-{server}", "-m", *argv, port=port, env=env))


def publisher(rig: Rig, server: str, message: str) -> Callable[[], Awaitable[None]]:
    """Return a function that sends the message to every client of the server's group."""
    layer = RedisPubSubChannelLayer(hosts=[rig.redis_url], prefix=f"bench-{server}")

    async def publish() -> None:
        await layer.group_send(GROUP, {"type": "market.update", "text": message})

    return publish
