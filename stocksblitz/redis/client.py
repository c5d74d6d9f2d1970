"""The only place that opens Redis connections.

``REDIS_URL`` is ``redis://``, ``rediss://`` or ``unix://`` for one server, or ``sentinel://host:port,host:port/name`` for
a master that Sentinel watches. Redis Cluster is not supported: scripts and transactions change keys of many slots.
"""

from functools import cache
from typing import Any

import redis as sync_redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.url import sentinels

# redis-py itself retries only a little: its callers back off, and know what to read again afterwards.
_OPTIONS: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 15}
_SENTINEL: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}

CONNECTIONS = 64
"""Connections of one client: Redis answers one command at a time, and more would not make it faster."""


def current_keys() -> Keys:
    """Return the names of the realm that the running feed writes to."""
    return Keys(f"{settings.REDIS_NAMESPACE}{settings.FEED.prefix}")


def realm_keys(*, mock: bool) -> Keys:
    return Keys(f"{settings.REDIS_NAMESPACE}{'mock:' if mock else ''}")


def cache_key(key: str, prefix: str, version: int) -> str:
    """Return the name of an entry of Django's cache; it stands among our own names."""
    return realm_keys(mock=False).name("cache", str(version), key)


class _AsyncWatched(aioredis.sentinel.SentinelConnectionPool, aioredis.BlockingConnectionPool):
    """To whoever is the master; more commands at once than connections wait their turn."""


class _Watched(sync_redis.sentinel.SentinelConnectionPool, sync_redis.BlockingConnectionPool):
    """The same for threads."""


def connect(**options: Any) -> Any:
    """Return a new asyncio client, which the caller closes. Answers are bytes unless ``decode_responses=True``."""
    merged = {**_OPTIONS, "retry": AsyncRetry(ExponentialWithJitterBackoff(base=0.01, cap=0.2), 2), **options}
    merged |= {"max_connections": CONNECTIONS, "timeout": 5}
    if watched := sentinels(settings.REDIS_URL):
        hosts, name = watched
        manager = aioredis.Sentinel(hosts, **_SENTINEL)
        return manager.master_for(name, connection_pool_class=_AsyncWatched, **merged)
    # More commands than connections wait for one; redis-py's default pool would refuse them.
    return aioredis.Redis.from_pool(aioredis.BlockingConnectionPool.from_url(settings.REDIS_URL, **merged))


@cache
def _shared(url: str) -> Any:
    merged = {**_OPTIONS, "retry": Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.2), 2)}
    merged |= {"max_connections": CONNECTIONS, "timeout": 5}
    if watched := sentinels(url):
        hosts, name = watched
        manager = sync_redis.Sentinel(hosts, **_SENTINEL)
        return manager.master_for(name, connection_pool_class=_Watched, **merged)
    return sync_redis.Redis.from_pool(sync_redis.BlockingConnectionPool.from_url(url, **merged))


def sync_client() -> Any:
    """The process's client for threads (views, admin, commands), with a connection pool beneath."""
    return _shared(settings.REDIS_URL)


async def each_answer(pipe: Any) -> list[Any]:
    """Run an asyncio pipeline; return its answers, a command that met a key of another type answered by its error.

    Such a key is somebody's mistake about one symbol and no reason to lose the others; any other error is raised.
    """
    return _with_wrong_types(await pipe.execute(raise_on_error=False))


def each_answer_sync(pipe: Any) -> list[Any]:
    """Do the same for a pipeline of `sync_client`."""
    return _with_wrong_types(pipe.execute(raise_on_error=False))


def _with_wrong_types(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception) and "WRONGTYPE" not in str(answer):
            raise answer
    return answers


def good(answer: Any) -> Any:
    """Return the answer; BadData when it is the error of a key of another type."""
    if isinstance(answer, ResponseError):
        raise BadData("key", str(answer), "a key of the right type")
    return answer
