"""The delivery hub: one Redis subscription per stream and process, one encoding per view, one writer per session.

Consumers register their socket (`register`), `join` and `leave` streams, and hand everything they have to say to the
client; frames come in from Redis and go out at the end of the turn of the event loop in which they came.
"""

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

from stocksblitz.delivery import control
from stocksblitz.delivery.connection import Client, WriteBatch
from stocksblitz.delivery.credential_check import Standing
from stocksblitz.delivery.limits import renew_sockets
from stocksblitz.delivery.messages import Close, Frame
from stocksblitz.delivery.replay_backpressure import Pace
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.delivery.stream import StreamState
from stocksblitz.observability import aggregation, metrics
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.redis.subscriber import Subscriber
from stocksblitz.workers.leases import worker_id

log = logging.getLogger(__name__)

CHECK_S = 0.8
"""How often positions are compared with Redis; a lost frame is noticed at the second comparison."""
IDLE_S = 1.0
"""How long a stream without sessions keeps its subscription, for tabs that reload."""
STALLED_S = 45.0

type Touch = Callable[[Sequence[tuple[int, str]]], Awaitable[list[bool]]]
type Resync = Callable[["Hub", Client], Awaitable[None]]


class Hub:
    """All live sockets of this process and the streams they have."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self._streams: dict[Stream, StreamState] = {}
        self._channels: dict[str, StreamState] = {}
        self._turn = WriteBatch(self._at_end_of_turn)
        self._pace = Pace(self, worker_id())
        self._standing = Standing(self.clients)
        self._keys = current_keys()
        self._redis: Any = None
        self._bus = Subscriber(self._on_message, self._on_connect)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self._started: asyncio.Future[None] | None = None
        self._control: asyncio.Task[Any] | None = None
        self._sessions: set[Client] = set()
        self.touch: Touch | None = None
        self.resync: Resync | None = None

    async def start(self) -> None:
        """Connect, once; others who ask meanwhile wait for it."""
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._redis = connect()
            aggregation.start()
            await self._bus.start()
            self.spawn(self._watch())
            self.spawn(self._standing.watch())
            self._started.set_result(None)
        await self._started

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bus.close()
        if self._redis is not None:
            await self._redis.aclose()

    @property
    def redis(self) -> Any:
        return self._redis

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- sessions -----------------------------------------------------------------------------------------------------

    def register(self, client: Client, *, stored: bool = False) -> None:
        """The session's socket is this one now; another one of it in this process is told so and closed.

        ``stored``: the database knows the session, and `touch` and `resync` are for it.
        """
        if stored:
            self._sessions.add(client)
        before = self.clients.get(client.member)
        self.clients[client.member] = client
        client.turn = self._turn
        metrics.sockets.set(len(self.clients))
        if before is not None and before is not client:
            before.close(Close.REPLACED, "the session was opened elsewhere")

    def unregister(self, client: Client) -> None:
        for stream in list(client.views):
            self._streams[stream].leave(client)
        self._sessions.discard(client)
        if self.clients.get(client.member) is client:
            del self.clients[client.member]
            metrics.sockets.set(len(self.clients))

    @property
    def states(self) -> Iterable[StreamState]:
        return self._streams.values()

    def holding(self, stream: Stream) -> AbstractAsyncContextManager[None]:
        """While a session joins, a replay at full speed waits, as it does for a session that is behind."""
        return self._pace.joining(stream)

    @contextlib.asynccontextmanager
    async def opened(self, stream: Stream) -> AsyncIterator[StreamState]:
        """The stream, subscribed to and with its newest frame, if there is one; it is not given up meanwhile."""
        state = self._streams.get(stream)
        if state is None:
            state = self._streams[stream] = StreamState(stream, self._turn)
            self._channels[self._keys.updates(*stream)] = state
        state.joining += 1
        try:
            await self._know(state, stream)
            yield state
        finally:
            state.joining -= 1

    async def _know(self, state: StreamState, stream: Stream) -> None:
        await self._bus.subscribe(self._keys.updates(*stream))
        if state.newest is None:
            with contextlib.suppress(RedisError, OSError):
                raw = await self._redis.get(self._keys.stream(*stream, "frame"))
                if raw and state.newest is None:
                    self._take(state, Frame(raw))

    async def values(self, state: StreamState, canonical: set[str], patience: float) -> None:
        """Wait until the newest frame has these indicators, or for ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while state.newest is None or not canonical <= state.newest.data["indicators"].keys():
            changed: asyncio.Future[None] = loop.create_future()
            state.waiters.add(changed)
            try:
                await asyncio.wait_for(changed, deadline - loop.time())
            except TimeoutError:
                return
            finally:
                state.waiters.discard(changed)

    def enter(self, client: Client, stream: Stream, ids: dict[str, str]) -> None:
        """Frames go to the client from now on, unless it has left while it joined."""
        if self.clients.get(client.member) is not client:
            return
        state = self._streams[stream]
        client.supersede(stream)
        state.enter(client, ids)

    def narrow(self, client: Client, stream: Stream, ids: dict[str, str]) -> None:
        """Fewer indicators from now on; the stream goes on without a snapshot."""
        self._streams[stream].enter(client, ids)

    def leave(self, client: Client, stream: Stream) -> None:
        state = self._streams.get(stream)
        if state is not None:
            client.forget(stream)
            state.leave(client)

    # --- frames -------------------------------------------------------------------------------------------------------

    async def listen(self, channel: str, handler: Callable[[bytes], None]) -> None:
        """Hand every message of another channel to the handler (the portfolio's announcements)."""
        self._listeners[channel] = handler
        await self._bus.subscribe(channel)

    def _on_message(self, channel: str, data: bytes) -> None:
        state = self._channels.get(channel)
        if state is None:
            if channel in self._listeners:
                self._listeners[channel](data)
            return
        frame = Frame(data)
        self._take(state, frame)
        if frame.flushed:
            metrics.delivery_lag.observe(max(0.0, time.time() - frame.flushed / 1000))

    def _take(self, state: StreamState, frame: Frame) -> None:
        if state.take(frame):
            self.spawn(self._mend(state))

    async def _mend(self, state: StreamState) -> None:
        try:
            entries = await self._redis.lrange(self._keys.stream(*state.stream, "log"), 0, -1)
            logged = [Frame(raw) for raw in entries]
        except Exception as error:  # whatever it is: what is held must not wait for ever
            log.warning(
                "the log of %s %s was not read: %s", *state.stream, error, extra={"action": "not_mended"}
            )
            state.release()
            return
        state.mend(logged)

    def _at_end_of_turn(self, flush: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(flush)
        if self._pace.active:
            loop.call_soon(self._pace.written)

    async def _on_connect(self) -> None:
        """After a lost connection everything may have been missed, orders too: compare at once."""
        if self._control is not None:
            self._control.cancel()
        self._control = self.spawn(self._listen_control())
        for state in self._streams.values():
            state.last_seen = None
        if self._streams:
            self.spawn(self._recheck())

    async def _recheck(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._check_positions()
            await asyncio.sleep(0.1)
            await self._check_positions()

    # --- control ------------------------------------------------------------------------------------------------------

    async def _listen_control(self) -> None:
        """Begun anew with every connection of ours: the layer does not notice when its own is open and dead."""
        layer = get_channel_layer()
        while True:
            try:
                await layer.flush()
                channel = await layer.new_channel("hub")
                await layer.group_add(control.GROUP, channel)
                self.spawn(self._resync(list(self._sessions)))
                while True:
                    self._on_control(await layer.receive(channel))
            except Exception as error:
                log.warning(
                    "control is out of reach, trying again: %s", error, extra={"action": "control_lost"}
                )
                await asyncio.sleep(0.5)

    async def _resync(self, clients: Iterable[Client]) -> None:
        """Have these sessions read anew, each until it has worked: what they are sent must be what they have."""
        for client in clients:
            pause = 0.1
            while self.resync is not None and client in self._sessions and client.closing is None:
                try:
                    await self.resync(self, client)
                    break
                except Exception as error:
                    log.warning("a session was not read anew: %s", error, extra={"action": "resync_failed"})
                    await asyncio.sleep(pause := min(5.0, 2 * pause))

    def _on_control(self, message: dict[str, Any]) -> None:
        """What was decided elsewhere about sessions whose sockets may be here."""
        if message["action"] == "verify":
            self._standing.ask()
        for client in self._meant(message):
            if message["action"] == "close":
                client.close(message["code"], message.get("reason") or "the session has ended")
            elif message["action"] == "resync":
                self.spawn(self._resync([client]))

    def _meant(self, message: dict[str, Any]) -> list[Client]:
        client = self.clients.get(message.get("member") or "")
        if client is None or client.ws_conn_id == message.get("except_conn"):
            return []
        wanted = message.get("ws_conn_id")
        return [client] if not wanted or wanted == client.ws_conn_id else []

    # --- the watch ----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                self._sweep_clients()
                await self._drop_idle()
                await self._check_positions()
                await self._pace.tell()
            except (RedisError, OSError) as error:
                log.debug("positions not checked: %s", error)
            except Exception:  # one poisoned frame must not end the watch over all the others
                log.exception("the watch stumbled", extra={"action": "watch_failed"})

    async def _check_positions(self) -> None:
        """Compare every stream with its position in Redis: what was there a while ago and still is not here, was lost."""
        states = list(self._streams.values())
        if not states:
            return
        pipe = self._redis.pipeline(transaction=False)
        for state in states:
            pipe.get(self._keys.stream(*state.stream, "pos"))
        behind = []
        for state, position in zip(states, await pipe.execute(), strict=True):
            if self._is_behind(state, position):
                behind.append(state)
        for state in behind:
            raw = await self._redis.get(self._keys.stream(*state.stream, "frame"))
            if raw:
                self._take(state, Frame(raw))

    def _is_behind(self, state: StreamState, position: bytes | None) -> bool:
        before, state.last_seen = state.last_seen, None
        if position is None:
            return False
        epoch, seq, *_ = position.decode().split("|")
        state.last_seen = (epoch, int(seq))
        newest = state.newest
        if before is None:
            return newest is None
        return (
            newest is None
            or (newest.epoch != before[0] and before[0] == epoch)
            or (newest.epoch == before[0] and newest.seq < before[1])
        )

    async def _drop_idle(self) -> None:
        now = time.monotonic()
        for stream, state in list(self._streams.items()):
            if state.views or state.joining:
                state.idle_since = None
            elif state.idle_since is None:
                state.idle_since = now
            elif now - state.idle_since > IDLE_S:
                channel = self._keys.updates(*stream)
                del self._streams[stream], self._channels[channel]
                await self._bus.unsubscribe(channel)

    def _sweep_clients(self) -> None:
        """Close what is over, and tell the subscriptions who lives."""
        now, wall = time.monotonic(), time.time() * 1000
        living = []
        for client in list(self.clients.values()):
            if client.closing is not None:
                continue
            if not client.outlet.pongs:
                client.alive()
            if client.expires_at is not None and wall > client.expires_at:
                client.close(Close.NOT_AUTHENTICATED, "what it was opened with has expired")
            elif now - client.alive_at > settings.SESSION_TTL:
                client.close(Close.SESSION_ENDED, "no sign of life")
            elif client.stalled_at is not None and now - client.stalled_at > STALLED_S * 2:
                client.close(Close.TOO_SLOW, "nothing was read for too long")
            elif now - client.touched_at > settings.SESSION_TTL / 10 and client.alive_at > client.touched_at:
                client.touched_at = now
                living.append(client)
        if living:
            self.spawn(self._renew(living))

    async def _renew(self, living: list[Client]) -> None:
        """These live. A session that is not there any more, although its socket is, is read anew."""
        sessions = [client for client in living if client in self._sessions]
        try:
            await renew_sockets(self._redis, [(client.user_id, client.ws_conn_id) for client in living])
            if self.touch is None or not sessions:
                return
            found = await self.touch([(client.user_id, client.session_id) for client in sessions])
        except (RedisError, OSError) as error:
            log.warning("sessions not renewed, will be soon: %s", error, extra={"action": "touch_failed"})
            return
        await self._resync([client for client, there in zip(sessions, found, strict=True) if not there])


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()


async def get_hub() -> Hub:
    """The hub of this event loop, started."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    await hub.start()
    return hub
