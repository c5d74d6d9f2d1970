"""What ``REDIS_URL`` says, and how connections are opened by it."""

from typing import Any
from urllib.parse import urlsplit

from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

SERVERS = ("redis", "rediss", "unix")
CONNECTIONS = 64
"""Connections of one client: Redis answers one command at a time, and more would not make it faster."""
POOL: dict[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "health_check_interval": 15,
    "max_connections": CONNECTIONS,
    "timeout": 5,
}
"""Options of every pool. More commands than connections wait for one: redis-py's default pool would refuse them."""
SENTINEL: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}
BACKOFF, RETRIES = ExponentialWithJitterBackoff(base=0.01, cap=0.2), 2
"""redis-py itself retries only a little: its callers back off, and know what to read again afterwards."""


def check(url: str) -> str:
    """Return the address if it can be used; raise ValueError with what is wrong."""
    scheme = url.partition("://")[0]
    if scheme == "cluster":
        raise ValueError(
            "REDIS_URL: Redis Cluster is not supported (scripts change keys of many slots together); name one server, "
            "redis://host:port/0, or a master behind Sentinel, sentinel://host:port,host:port/name"
        )
    if scheme == "sentinel":
        sentinels(url)
    elif scheme not in SERVERS:
        raise ValueError(
            f"REDIS_URL begins with redis://, rediss://, unix:// or sentinel://, not {scheme[:20]!r}"
        )
    return url


def sentinels(url: str) -> tuple[list[tuple[str, int]], str] | None:
    """Return the Sentinels and the name of the master that they watch; None for the address of one server."""
    if not url.startswith("sentinel://"):
        return None
    hosts, _, name = url.removeprefix("sentinel://").partition("/")
    try:
        parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
        found = [(part.hostname or "", part.port or 26379) for part in parts]
    except ValueError:
        found = []
    if not found or "@" in hosts or not all(host for host, _ in found):
        raise ValueError("REDIS_URL: expected sentinel://host:port,host:port/name (without a password)")
    return found, name or "mymaster"


def channel_host(url: str) -> str | dict[str, Any]:
    """Return the host that channels_redis connects to."""
    watched = sentinels(url)
    return {"sentinels": watched[0], "master_name": watched[1]} if watched else url


def cache(url: str) -> dict[str, Any]:
    """Return LOCATION and OPTIONS of django-redis, whose connection is the client for threads."""
    options: dict[str, Any] = {
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": {**POOL, "retry": Retry(BACKOFF, RETRIES)},
    }
    watched = sentinels(url)
    if watched is None:
        return {"LOCATION": url, "OPTIONS": options}
    options |= {
        "SENTINELS": watched[0],
        "SENTINEL_KWARGS": SENTINEL,
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "CONNECTION_POOL_CLASS": "stocksblitz.redis.sentinel.BlockingSentinelPool",
    }
    return {"LOCATION": f"redis://{watched[1]}/0", "OPTIONS": options}
