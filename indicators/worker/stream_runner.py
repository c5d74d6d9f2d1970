"""Computes exactly what live sessions subscribe to, for the symbols whose leases this worker holds."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.conf import settings
from redis.exceptions import RedisError

from indicators.engine.formats import decode_computation, decode_subscription_changes
from indicators.engine.live_stream import Batch, LiveStream, reaches
from indicators.worker.active_streams import ActiveStreams, StreamId
from indicators.worker.counters import ComputeCounters
from indicators.worker.market_reader import MarketReader, MarketReading, StoredStream
from indicators.worker.publisher import Publisher
from stocksblitz.market.core.announcements import decode_bar_update
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.store.bar_codec import FormingBar
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import connect, current_keys
from stocksblitz.redis.keys import BARS_ONLY, computation
from stocksblitz.redis.subscriber import Subscriber
from stocksblitz.workers.leases import ShardLeases
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

OPENED_AT_ONCE = 32
"""Streams opened in one step: between steps the leases are renewed, and streams that live get their turn."""
REOPEN_S = 1.0
"""A stream whose bars do not fit together is opened again at most this often."""
MAX_MISFITS = 10
"""Readings in a row in which the forming bar did not follow the closed ones, until the stream is opened again."""
AGAIN_S = 0.01
"""How soon to read again what was caught between two writes."""


class StreamRunner:
    """The streams of one worker. `step` does what is due; leases, `reconcile` and the subscriber decide what that is."""

    def __init__(self) -> None:
        self.redis = connect()
        self.keys = current_keys()
        self.leases = ShardLeases(self.redis, self.keys, "compute")
        self.counters = ComputeCounters()
        self.active = ActiveStreams()
        self._market = MarketReader(self.redis, self.keys)
        self._publisher = Publisher(self.redis, self.keys, mock=settings.FEED.mock)
        self._subscriber = Subscriber(self.on_message, self._on_connect)
        self._bad_messages = BadDataLog("announcement")
        self._bad_names = BadDataLog("computation")
        self._live: dict[StreamId, LiveStream] = {}
        self._fences: dict[StreamId, int] = {}
        self._misfits: dict[StreamId, int] = defaultdict(int)
        self._opened: dict[StreamId, float] = {}
        self._announced: set[str] = set()
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._epochs = 0

    async def start(self) -> None:
        await self._subscriber.start()
        await self._subscriber.subscribe(self.keys.demand)
        await self._subscriber.subscribe(self.keys.bar_updates)

    async def close(self) -> None:
        await self._subscriber.close()
        await self.leases.close()
        await self.redis.aclose()

    def wake(self) -> None:
        """Have a step done: something changed that no message announces, such as a lease."""
        self._wake.set()

    # --- what is subscribed to ----------------------------------------------------------------------------------------

    def on_message(self, channel: str, data: bytes) -> None:
        """Handle an announcement of the feed or of subscriptions."""
        with self._bad_messages.skip(channel):
            if channel == self.keys.bar_updates:
                self.mark_dirty(decode_bar_update(data).symbols)
            else:
                self._change(data)

    def mark_dirty(self, symbols: Iterable[str]) -> None:
        """Have these symbols read in the next step."""
        self._dirty.update(symbols)
        self._wake.set()

    def _change(self, data: bytes) -> None:
        changes = decode_subscription_changes(data)
        self._announced.update(changes.added, changes.dropped)
        for name in changes.added:
            self.active.add(name)
        for name in changes.dropped:
            self.active.drop(name, time.monotonic())
        self._wake.set()

    async def _on_connect(self) -> None:
        """Read every symbol: any announcement may have been missed."""
        self.mark_dirty(self.active.by_symbol)

    async def reconcile(self) -> None:
        """Make what is computed agree with Redis, whatever was announced or missed."""
        self._announced.clear()
        members = await self.redis.smembers(self.keys.wanted)
        subscribed = {name for raw in members if (name := self._decode_name(raw))}
        self.active.reconcile(subscribed, self._announced, time.monotonic())
        published = await self.redis.hkeys(self.keys.positions)
        streams = [stream for raw in published if (stream := self._decode_stream(raw))]
        mine = [stream for stream in streams if self.leases.fence(stream[0]) is not None]
        self.active.mark_orphans(mine, time.monotonic())
        self._wake.set()

    def _decode_name(self, raw: bytes) -> str | None:
        with self._bad_names.skip(self.keys.wanted):
            return decode_computation(raw)
        return None

    def _decode_stream(self, raw: bytes) -> StreamId | None:
        name = self._decode_name(raw + b"|" + BARS_ONLY.encode())
        return (name.split("|")[0], name.split("|")[1]) if name else None

    async def end_unsubscribed(self) -> None:
        """End streams that have had no subscriber for a while, and remove those that other workers left behind."""
        for stream in self.active.take_orphans(time.monotonic()):
            if (fence := self.leases.fence(stream[0])) is not None:
                await self._publisher.end(stream, fence)
        for stream in self.active.expired(time.monotonic()):
            bars = await self.redis.sismember(self.keys.wanted, computation(*stream, BARS_ONLY))
            # It may have been subscribed to again meanwhile.
            if self.active.ending.pop(stream, None) is not None and not bars:
                await self._end(stream)

    async def _end(self, stream: StreamId) -> None:
        if self.active.forget(stream):
            self._market.forget(stream[0])
        self.counters.forget(stream)
        self._misfits.pop(stream, None)
        self._opened.pop(stream, None)
        if self._live.pop(stream, None) is not None:
            await self._publisher.end(stream, self._fences.pop(stream))

    # --- one step -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Do a step whenever a flush, a subscription or a lease gives cause, until the stop."""
        stopped = asyncio.create_task(stop.wait())
        failures = 0
        while not stop.is_set():
            waiting = asyncio.create_task(self._wake.wait())
            await asyncio.wait({waiting, stopped}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            self._wake.clear()
            try:
                await self.step()
                failures = 0
            except (RedisError, OSError) as error:
                failures += 1
                await self._pause(failures, error)
        stopped.cancel()

    async def _pause(self, failures: int, error: Exception) -> None:
        """Wait after a failure of Redis, and have everything read again."""
        if failures == 1:
            log.warning("Redis fails, trying again: %s", error, extra={"action": "trouble"})
        await asyncio.sleep(min(1.0, 0.05 * 2**failures))
        self.mark_dirty(self.active.by_symbol)

    async def step(self) -> bool:
        """Advance every stream that is due; return whether there was any."""
        await self.end_unsubscribed()
        self._release_lost()
        changed, self.active.changed = self.active.changed, set()
        mine = [stream for stream in self._due(changed) if self.leases.fence(stream[0]) is not None]
        try:
            for streams in self._portions(mine):
                await self._advance(streams, changed)
        except BaseException:
            self.active.changed |= changed  # their new indicators are not computed yet
            raise
        await self._publish_stale()
        return bool(mine)

    def _due(self, changed: set[StreamId]) -> list[StreamId]:
        """Return the streams of dirty symbols, those with other indicators, and those that have to be opened."""
        dirty, self._dirty = self._dirty, set()
        due = [stream for symbol in dirty for stream in self.active.by_symbol.get(symbol, ())]
        due += [stream for stream in changed if stream in self.active.specs and stream[0] not in dirty]
        due += [
            stream for stream in self._closed_streams() if stream[0] not in dirty and stream not in changed
        ]
        return due

    def _closed_streams(self) -> list[StreamId]:
        now = time.monotonic()
        return [
            stream
            for stream in self.active.specs
            if stream not in self._live and now - self._opened_at(stream) >= REOPEN_S
        ]

    def _portions(self, streams: list[StreamId]) -> Iterator[list[StreamId]]:
        """Yield all streams that live, then a few of those to be opened, the ones that waited longest."""
        living = [stream for stream in streams if stream in self._live]
        others = sorted((stream for stream in streams if stream not in self._live), key=self._opened_at)
        if living:
            yield living
        if others:
            yield others[:OPENED_AT_ONCE]
        if len(others) > OPENED_AT_ONCE:
            self._wake.set()

    def _opened_at(self, stream: StreamId) -> float:
        return self._opened.get(stream, 0.0)

    def _release_lost(self) -> None:
        """Forget the streams whose lease is lost or has another fence: another worker may have published meanwhile."""
        for stream, fence in list(self._fences.items()):
            if self.leases.fence(stream[0]) != fence:
                self._forget(stream)

    def _forget(self, stream: StreamId) -> None:
        self._live.pop(stream, None)
        self._fences.pop(stream, None)
        self._opened[stream] = time.monotonic()

    async def _advance(self, streams: list[StreamId], changed: set[StreamId]) -> None:
        reading = await self._market.read_market(streams)
        readable = [stream for stream in streams if stream[0] in reading.states]
        self._postpone(set(streams).difference(readable), changed)
        living = [stream for stream in readable if self._follow(stream, reading)]
        closed = await self._market.read_closed(self._unread(living, reading, changed))
        self.active.changed |= changed.intersection(living) - closed.keys()
        fresh = [stream for stream in readable if stream not in living]
        batches = await self._open_all(fresh, reading)
        for stream in readable:
            if stream in self._live:
                batch = batches.setdefault(stream, Batch())
                self._move(stream, closed.get(stream), reading.forming.get(stream), stream in changed, batch)
        await self._write(batches)

    def _postpone(self, streams: set[StreamId], changed: set[StreamId]) -> None:
        """Leave streams of unreadable symbols for later; others that wait to be opened come first next time."""
        self.active.changed |= streams & changed
        for stream in streams:
            if stream not in self._live:
                self._forget(stream)

    def _follow(self, stream: StreamId, reading: MarketReading) -> bool:
        """Take over the feed's state; False for a stream that has to be opened (again)."""
        live, state = self._live.get(stream), reading.states[stream[0]]
        if live is None or not live.follows(state):
            self._forget(stream)
            return False
        live.feed = state
        return True

    def _unread(
        self, streams: list[StreamId], reading: MarketReading, changed: set[StreamId]
    ) -> dict[StreamId, int | None]:
        """Return from when on each stream's closed bars have to be read; all of them for new indicators."""
        unread: dict[StreamId, int | None] = {}
        for stream in streams:
            last_ts, forming = self._live[stream].last_ts, reading.forming.get(stream)
            if stream in changed:
                unread[stream] = None
            elif forming is None or forming.prev_ts > last_ts:
                unread[stream] = last_ts
        return unread

    async def _open_all(self, streams: list[StreamId], reading: MarketReading) -> dict[StreamId, Batch]:
        stored = await self._market.read_stored(streams)
        batches = {stream: self._open(stream, found, reading) for stream, found in stored.items()}
        return {stream: batch for stream, batch in batches.items() if batch is not None}

    def _open(self, stream: StreamId, stored: StoredStream, reading: MarketReading) -> Batch | None:
        """Begin an epoch, unless it is too early for it."""
        fence, state = self.leases.fence(stream[0]), reading.states[stream[0]]
        if fence is None or state.source is None:
            return None  # the feed has written nothing of the symbol yet: its bars may not be all there
        if not reaches(stored.bars, reading.forming.get(stream)):
            self._read_again(stream[0])
            return None
        self._epochs += 1
        live = LiveStream(*stream, f"{fence:x}.{self._epochs:x}", state)
        batch = live.begin(stored.bars, self.active.specs[stream].values(), stored.published, now_ms())
        self._live[stream], self._fences[stream] = live, fence
        self._opened[stream] = time.monotonic()
        return batch

    def _move(
        self,
        stream: StreamId,
        bars: list[Bar] | None,
        forming: FormingBar | None,
        changed: bool,
        batch: Batch,
    ) -> None:
        """Take in what was read of a live stream."""
        live, now = self._live[stream], now_ms()
        if bars is not None:
            live.close(bars, batch, now)
            if changed:
                self._change_indicators(stream, bars, forming)
        if forming is not None:
            self._peek(stream, forming, batch)
        elif changed and bars is not None:
            live.repeat(batch, now)
        if stream in self._live:
            self.counters.count(stream, live, batch)

    def _change_indicators(self, stream: StreamId, bars: list[Bar], forming: FormingBar | None) -> None:
        if reaches(bars, forming):
            self._live[stream].set_indicators(self.active.specs[stream].values(), bars)
            self.counters.change(stream)
        else:
            self.active.changed.add(stream)
            self._read_again(stream[0])

    def _peek(self, stream: StreamId, forming: FormingBar, batch: Batch) -> None:
        if self._live[stream].peek(*forming, batch, now_ms()):
            self._misfits.pop(stream, None)
            return
        # It follows a bar that was not read: it was written between two reads.
        self._misfits[stream] += 1
        if self._misfits[stream] > MAX_MISFITS:
            log.warning(
                "bars do not fit together, opening the stream again",
                extra={"action": "reopen", "symbol": stream[0], "timeframe": stream[1]},
            )
            del self._misfits[stream]
            self._forget(stream)
        self._read_again(stream[0])

    def _read_again(self, symbol: str) -> None:
        self._dirty.add(symbol)
        asyncio.get_running_loop().call_later(AGAIN_S, self._wake.set)

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def _write(self, batches: dict[StreamId, Batch]) -> None:
        due = [
            (self._live[stream], self._fences[stream], batch)
            for stream, batch in batches.items()
            if batch and stream in self._live
        ]
        if not due:
            return
        try:
            refused = await self._publisher.write(due)
        except (RedisError, OSError):
            for live, *_ in due:  # how much arrived is not known: begin again from what was published
                self._forget((live.symbol, live.timeframe))
            raise
        for live in refused:
            self._give_up(live)
        await self._publisher.remember([written for written in due if written[0] not in refused])

    def _give_up(self, live: LiveStream) -> None:
        log.warning(
            "another worker has the stream now",
            extra={"action": "fenced_off", "symbol": live.symbol, "timeframe": live.timeframe},
        )
        self._forget((live.symbol, live.timeframe))

    async def _publish_stale(self) -> None:
        """Publish once that a price has become too old without a tick."""
        now = now_ms()
        batches: dict[StreamId, Batch] = {}
        for stream, live in self._live.items():
            if not live.stale and live.forming is not None and now > (live.feed.fresh_until or 0):
                batches[stream] = Batch()
                live.repeat(batches[stream], now)
        await self._write(batches)

    def streams(self) -> Iterable[StreamId]:
        """Return what this worker computes at the moment."""
        return self._live.keys()
