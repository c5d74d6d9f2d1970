"""A subscriber of Redis channels that reconnects by itself, and says so: what was published meanwhile is lost.

It reads its connection directly. redis-py's PubSub costs several times as much per message, and neither it nor its
health check notices a connection that is open and dead. Here a probe does: a message of the subscriber's own, published
every few seconds, that must come back.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from stocksblitz.redis.client import connect

log = logging.getLogger(__name__)

PROBE_S = 2.0
DEAD_S = 6.0
"""A connection that has not brought back a probe for so long is dead."""
BURST = 256
"""Messages handled before other tasks of the event loop run."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.04, 1.0
"""Pauses of the back-off; each is random up to its bound, so that not all processes reconnect at once."""


class Subscriber:
    """Calls ``on_message(channel, data)`` for every message in order, and ``on_connect()`` after every (re)connection."""

    def __init__(
        self,
        on_message: Callable[[str, bytes], None],
        on_connect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_connect = on_connect
        self._channels: set[str] = set()
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._client: Any = None
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._probe = f"sb:probe:{uuid.uuid4().hex}"
        self._probe_seen = 0.0

    async def start(self) -> None:
        # redis-py's own health check would take an answer away from `_read`.
        self._client = connect(protocol=2, health_check_interval=0)
        self._task = asyncio.create_task(self._run(), name="redis-subscriber")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._client:
            await self._client.aclose()

    async def subscribe(self, channel: str, *, patience: float = 2.0) -> None:
        """Return when Redis has confirmed; while Redis is away, after ``patience`` seconds (it follows later)."""
        self._channels.add(channel)
        done = self._confirmed.get(channel)
        if done is None:
            done = self._confirmed[channel] = asyncio.get_running_loop().create_future()
            await self._send("SUBSCRIBE", channel)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(done), patience)

    async def unsubscribe(self, channel: str) -> None:
        self._channels.discard(channel)
        self._confirmed.pop(channel, None)
        await self._send("UNSUBSCRIBE", channel)

    async def _send(self, *command: str) -> None:
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._connection.send_command(*command)

    async def _run(self) -> None:
        while True:
            connection = await self._connect()
            try:
                await self._listen(connection)
            except Exception as error:  # whatever it is: without the subscription everything stands still
                log.warning("Redis subscription lost: %s", error, extra={"action": "subscription_lost"})
            await self._release(connection)
            await asyncio.sleep(random.uniform(0, 2 * FIRST_PAUSE_S))

    async def _connect(self) -> Any:
        """Return a connection that has subscribed to every channel; try until there is one."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
        )
        connection: Any = await retrying(self._try_to_connect)
        return connection

    async def _try_to_connect(self) -> Any:
        connection = await self._client.connection_pool.get_connection()
        try:
            for channel in self._channels:
                if channel not in self._confirmed or self._confirmed[channel].done():
                    self._confirmed[channel] = asyncio.get_running_loop().create_future()
            self._probe_seen = time.monotonic()
            self._connection = connection
            await connection.send_command("SUBSCRIBE", self._probe, *self._channels)
        except BaseException:
            await self._release(connection)
            raise
        return connection

    async def _release(self, connection: Any) -> None:
        self._connection = None
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        await self._client.connection_pool.release(connection)

    async def _listen(self, connection: Any) -> None:
        probing = asyncio.create_task(self._probe_always(connection))
        try:
            if self._on_connect is not None:
                await self._on_connect()
            await self._read(connection)
        finally:
            probing.cancel()

    async def _read(self, connection: Any) -> None:
        burst = 0
        while True:
            answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            kind = answer[0]
            if kind == b"message":
                channel = answer[1].decode()
                if channel == self._probe:
                    self._probe_seen = time.monotonic()
                else:
                    self._handle(channel, answer[2])
            elif kind == b"subscribe":
                done = self._confirmed.get(answer[1].decode())
                if done is not None and not done.done():
                    done.set_result(None)
            burst += 1
            if burst >= BURST:
                burst = 0
                await asyncio.sleep(0)

    def _handle(self, channel: str, data: bytes) -> None:
        try:
            self._on_message(channel, data)
        except Exception:  # one bad message must not end the subscription
            log.exception("message skipped", extra={"action": "message_skipped", "channel": channel})

    async def _probe_always(self, connection: Any) -> None:
        """Publish probes; disconnect when none has come back, because then the connection is dead, however open."""
        while True:
            await asyncio.sleep(PROBE_S)
            with contextlib.suppress(RedisError, OSError):  # the way to Redis may be as dead as the way back
                async with asyncio.timeout(PROBE_S):
                    await self._client.publish(self._probe, b"")
            if time.monotonic() - self._probe_seen > DEAD_S:
                log.warning("Redis subscription is dead, reconnecting", extra={"action": "subscription_dead"})
                await connection.disconnect(nowait=True)
                return
