"""A subscriber of Redis channels that comes back by itself, and says so: what was published meanwhile is lost.

It reads its connection directly: redis-py's PubSub costs several times as much per message, and neither it nor its
health check notices a connection that is open and dead. Here a message of our own, sent round every few seconds, does.
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

from stocksblitz.redis.client import connect

log = logging.getLogger(__name__)

BEAT_S = 2.0
DEAD_S = 6.0
BURST = 256
"""Messages handled before others on the loop get a turn."""


class Subscriber:
    """``on_message(channel, data)`` for every message, in order; ``on_connect()`` after every (re)connection."""

    def __init__(
        self,
        on_message: Callable[[str, bytes], None],
        on_connect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_connect = on_connect
        self._channels: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._client: Any = None
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._beat = f"sb:beat:{uuid.uuid4().hex}"
        self._heard = 0.0

    async def start(self) -> None:
        # redis-py's own check would read an answer from under `_read`.
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
        """Return when Redis has confirmed; while Redis is away, after ``patience`` (it is made up for later)."""
        self._channels.add(channel)
        done = self._waiting.get(channel)
        if done is None:
            done = self._waiting[channel] = asyncio.get_running_loop().create_future()
            await self._send("SUBSCRIBE", channel)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(done), patience)

    async def unsubscribe(self, channel: str) -> None:
        self._channels.discard(channel)
        self._waiting.pop(channel, None)
        await self._send("UNSUBSCRIBE", channel)

    async def _send(self, *command: str) -> None:
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._connection.send_command(*command)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except Exception as error:  # whatever it is: without this everything stands still
                if self._connection is not None:
                    failures = 0
                if not failures:
                    log.warning("lost the Redis subscription: %s", error, extra={"action": "bus_lost"})
                failures += 1
            await self._drop()
            await asyncio.sleep(min(1.0, 0.02 * 2**failures) * random.uniform(0.5, 1.0))  # not all at once

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)

    async def _listen(self) -> None:
        connection = await self._client.connection_pool.get_connection()
        for channel in self._channels:
            if channel not in self._waiting or self._waiting[channel].done():
                self._waiting[channel] = asyncio.get_running_loop().create_future()
        self._heard = time.monotonic()
        self._connection = connection
        await connection.send_command("SUBSCRIBE", self._beat, *self._channels)
        guard = asyncio.create_task(self._guard(connection))
        try:
            if self._on_connect is not None:
                await self._on_connect()
            await self._read(connection)
        finally:
            guard.cancel()

    async def _read(self, connection: Any) -> None:
        burst = 0
        while True:
            answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            kind = answer[0]
            if kind == b"message":
                channel = answer[1].decode()
                if channel == self._beat:
                    self._heard = time.monotonic()
                else:
                    self._handle(channel, answer[2])
            elif kind == b"subscribe":
                done = self._waiting.get(answer[1].decode())
                if done is not None and not done.done():
                    done.set_result(None)
            burst += 1
            if burst >= BURST:
                burst = 0
                await asyncio.sleep(0)

    def _handle(self, channel: str, data: bytes) -> None:
        try:
            self._on_message(channel, data)
        except Exception:  # one poisoned message must not end the stream for everybody
            log.exception("a message on %s was skipped", channel, extra={"action": "message_skipped"})

    async def _guard(self, connection: Any) -> None:
        """Send a message to ourselves now and then; when none comes back the connection is dead, however open."""
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(RedisError, OSError):  # the way out may be as dead as the way in
                async with asyncio.timeout(BEAT_S):
                    await self._client.publish(self._beat, b"")
            if time.monotonic() - self._heard > DEAD_S:
                log.warning("the Redis subscription is mute, connecting anew", extra={"action": "bus_mute"})
                await connection.disconnect(nowait=True)
                return
