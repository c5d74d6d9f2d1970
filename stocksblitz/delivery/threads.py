"""Threads for the database calls of sockets: a slow call delays no other socket."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from channels.db import database_sync_to_async

CALLS = 32
"""Calls that run at the same time, each with a database connection of its own; PostgreSQL's pool allows half as many."""

_threads = ThreadPoolExecutor(CALLS, thread_name_prefix="socket-database")


async def in_database_thread[**P, T](function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the function in one of these threads; connections that are too old or broken are closed before and after it.

    asgiref's thread-sensitive mode would run the calls of all sockets in one thread, one after the other.
    """
    call: Any = database_sync_to_async(function, thread_sensitive=False, executor=_threads)
    return cast(T, await call(*args, **kwargs))
