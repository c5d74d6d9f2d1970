"""Pools of connections to whoever is the master, in which commands wait when all connections are in use."""

import redis
from redis import asyncio as aioredis


class BlockingSentinelPool(redis.sentinel.SentinelConnectionPool, redis.BlockingConnectionPool):
    """The pool for threads."""


class AsyncBlockingSentinelPool(aioredis.sentinel.SentinelConnectionPool, aioredis.BlockingConnectionPool):
    """The pool for event loops."""
