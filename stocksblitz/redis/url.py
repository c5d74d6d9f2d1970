"""What ``REDIS_URL`` says, for our own connections and for the libraries that open theirs (pure)."""

from typing import Any
from urllib.parse import urlsplit

SERVERS = ("redis", "rediss", "unix")


def check(url: str) -> str:
    """The address, if it is one that we can use; ValueError with what is wrong."""
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
    """The Sentinels and the name of the master that they watch; None for the address of one server."""
    if not url.startswith("sentinel://"):
        return None
    hosts, _, name = url.removeprefix("sentinel://").partition("/")
    try:
        parts = [urlsplit(f"//{each}") for each in hosts.split(",")]
        found = [(part.hostname or "", part.port or 26379) for part in parts]
    except ValueError:
        found = []
    if not found or "@" in hosts or not all(host for host, _ in found):
        raise ValueError("REDIS_URL: expected sentinel://host:port,host:port/name (without a password)")
    return found, name or "mymaster"


def cache(url: str) -> dict[str, Any]:
    """Redis as django_redis wants to be told of it."""
    options: dict[str, Any] = {
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "SOCKET_TIMEOUT": 5,
        "SOCKET_CONNECT_TIMEOUT": 2,
    }
    watched = sentinels(url)
    if watched is None:
        return {"LOCATION": url, "OPTIONS": options}
    factory = "django_redis.pool.SentinelConnectionFactory"
    return {
        "LOCATION": f"redis://{watched[1]}/0",
        "OPTIONS": {**options, "SENTINELS": watched[0], "CONNECTION_FACTORY": factory},
    }
