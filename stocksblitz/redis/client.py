"""The only place that opens Redis connections.

``REDIS_URL`` is ``redis://``, ``rediss://`` or ``unix://`` for one server, or ``sentinel://host:port,host:port/name`` for
a master that Sentinel watches. Redis Cluster is not supported: scripts and transactions change keys of many slots.
"""

from typing import Any

from django.conf import settings
from django_redis import get_redis_connection
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.exceptions import ResponseError

from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import Keys
from stocksblitz.redis.sentinel import AsyncBlockingSentinelPool
from stocksblitz.redis.url import BACKOFF, POOL, RETRIES, SENTINEL, sentinels


def current_keys() -> Keys:
    """Return the names of the realm that the running feed writes to."""
    return Keys(f"{settings.REDIS_NAMESPACE}{settings.FEED.prefix}")


def realm_keys(*, mock: bool) -> Keys:
    return Keys(f"{settings.REDIS_NAMESPACE}{'mock:' if mock else ''}")


def cache_key(key: str, prefix: str, version: int) -> str:
    """Return the name of an entry of Django's cache; it stands among our own names."""
    return realm_keys(mock=False).name("cache", str(version), key)


def connect(**options: Any) -> Any:
    """Return a new asyncio client, which the caller closes. Answers are bytes unless ``decode_responses=True``."""
    merged = {**POOL, "retry": Retry(BACKOFF, RETRIES), **options}
    if watched := sentinels(settings.REDIS_URL):
        hosts, name = watched
        manager = aioredis.Sentinel(hosts, **SENTINEL)
        return manager.master_for(name, connection_pool_class=AsyncBlockingSentinelPool, **merged)
    return aioredis.Redis.from_pool(aioredis.BlockingConnectionPool.from_url(settings.REDIS_URL, **merged))


def sync_client() -> Any:
    """Return django-redis' client, for threads (views, the admin, commands); all share one pool of connections."""
    return get_redis_connection("default")


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
