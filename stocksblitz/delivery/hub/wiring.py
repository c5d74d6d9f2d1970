"""Connects the parts of the hub: one Redis subscription per stream and process, one encoding per view.

Consumers register their connection, join and leave streams, and hand everything they have to say to the connection.
Frames come in from Redis and go out at the end of the same turn of the event loop.
"""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from stocksblitz.delivery.connection import Connection, WriteBatch
from stocksblitz.delivery.hub.control_listener import ControlListener
from stocksblitz.delivery.hub.credential_check import CredentialCheck
from stocksblitz.delivery.hub.liveness import Liveness, Touch
from stocksblitz.delivery.hub.registry import Registry
from stocksblitz.delivery.hub.replay_backpressure import ReplayBackpressure
from stocksblitz.delivery.hub.stream import StreamState
from stocksblitz.delivery.hub.stream_repair import StreamRepair
from stocksblitz.delivery.limits import SocketCounts
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.observability import aggregation
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.redis.subscriber import Subscriber
from stocksblitz.workers.leases import worker_id

log = logging.getLogger(__name__)

CHECK_S = 0.8
"""Pause between two checks of positions, connections and idle streams; a lost frame is noticed at the second check."""


class Hub:
    """All open sockets of this process and the streams they have."""

    def __init__(self) -> None:
        me = worker_id()
        self._keys = current_keys()
        self._redis = connect()
        self._subscriber = Subscriber(self._on_message, self._on_connect)
        self._handlers: dict[str, Callable[[bytes], None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started: asyncio.Future[None] | None = None
        self.registry = Registry(WriteBatch(self._at_end_of_turn))
        self.counts = SocketCounts(self._redis, me)
        self._repair = StreamRepair(self._redis, self._keys, self.registry, self.spawn)
        self._backpressure = ReplayBackpressure(self._redis, self.registry, me, self.spawn)
        self._credentials = CredentialCheck(self.registry)
        self._control = ControlListener(self.registry, self._credentials.request, self.spawn)
        self._liveness = Liveness(self.registry, self.counts, self._control)

    async def start(self) -> None:
        """Connect once; later callers wait for the first."""
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            aggregation.start()
            await self._subscriber.start()
            await self._control.restart()
            with contextlib.suppress(RedisError, OSError):
                await self.counts.beat()
            self.spawn(self._credentials.run())
            for step in (
                self._liveness.step, self._drop_idle_streams, self._repair.check_positions, self._backpressure.publish
            ):  # fmt: skip
                self.spawn(self._repeat(step))
            self._started.set_result(None)
        await self._started

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._subscriber.close()
        await get_channel_layer().flush()
        await self._redis.aclose()

    @property
    def redis(self) -> Any:
        return self._redis

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run the coroutine as a task that ends with the hub."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await step()
            except (RedisError, OSError) as error:
                log.debug("a check failed: %s", error)
            except Exception:  # whatever one stream or connection did, the others are still looked after
                log.exception("a check failed", extra={"action": "check_failed"})

    # --- sessions -----------------------------------------------------------------------------------------------------

    def set_session_store(self, touch: Touch, resync: Callable[["Hub", Connection], Awaitable[None]]) -> None:
        """Say how the sessions of ``stored`` connections are renewed and read again."""
        self._liveness.touch = touch
        self._control.resync = partial(resync, self)

    def register(self, connection: Connection, *, stored: bool = False) -> None:
        """Make this connection its session's current one; ``stored``: the database knows the session."""
        self.registry.register(connection, stored=stored)

    def unregister(self, connection: Connection) -> None:
        self.registry.unregister(connection)

    def holding(self, stream: Stream) -> AbstractAsyncContextManager[None]:
        """Hold back a replay at full speed while a session joins the stream."""
        return self._backpressure.joining(stream)

    @contextlib.asynccontextmanager
    async def opened(self, stream: Stream) -> AsyncIterator[StreamState]:
        """Yield the stream, subscribed to and with its newest frame, if there is one; it is kept meanwhile."""
        state = self.registry.stream(stream)
        state.joining += 1
        try:
            await self.listen(self._keys.updates(*stream), partial(self._repair.receive, stream))
            await self._repair.load_newest(state)
            yield state
        finally:
            state.joining -= 1

    async def values(self, state: StreamState, canonical: set[str], patience: float) -> None:
        """Wait until the newest frame has these indicators, or for ``patience`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await state.wait_for_values(canonical)

    def enter(self, connection: Connection, stream: Stream, ids: dict[str, str]) -> None:
        """Send the connection these indicators of the stream from now on."""
        self.registry.enter(connection, stream, ids)

    def narrow(self, connection: Connection, stream: Stream, ids: dict[str, str]) -> None:
        """Send the connection fewer indicators from now on; the stream goes on without a snapshot."""
        self.registry.narrow(connection, stream, ids)

    def leave(self, connection: Connection, stream: Stream) -> None:
        self.registry.leave(connection, stream)

    # --- Redis --------------------------------------------------------------------------------------------------------

    async def listen(self, channel: str, handler: Callable[[bytes], None]) -> None:
        """Hand every message of the channel to the handler, from when Redis has confirmed the subscription."""
        self._handlers[channel] = handler
        await self._subscriber.subscribe(channel)

    def _on_message(self, channel: str, data: bytes) -> None:
        handler = self._handlers.get(channel)
        if handler is not None:
            handler(data)

    async def _on_connect(self) -> None:
        self.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        """After a lost connection anything may have been missed: frames, and changes of sessions."""
        await self._control.restart()
        self._control.resync_soon(list(self.registry.stored))
        await self._repair.recheck()

    async def _drop_idle_streams(self) -> None:
        for stream in list(self.registry.streams):
            if self.registry.drop_if_idle(stream):
                channel = self._keys.updates(*stream)
                del self._handlers[channel]
                await self._subscriber.unsubscribe(channel)

    def _at_end_of_turn(self, flush: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(flush)
        if self._backpressure.active:
            loop.call_soon(self._backpressure.publish_soon)


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()


async def get_hub() -> Hub:
    """Return the hub of this event loop, started."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    await hub.start()
    return hub
