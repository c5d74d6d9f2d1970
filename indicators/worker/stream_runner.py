"""Redis -> engine -> Redis: computes exactly what live sessions want, for the symbols whose leases this worker holds."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

import orjson
from django.conf import settings
from redis.exceptions import RedisError

from indicators.engine.live_stream import Batch, LiveStream, StreamPosition, StreamQuote
from indicators.engine.market_data import FIELDS, Forming, Readable, bar_of, forming_of, quote_of, reaches
from indicators.worker.active_streams import StreamId, Wanted
from indicators.worker.counters import ComputeCounters
from indicators.worker.publisher import Publisher
from stocksblitz.market.core.bars import Bar
from stocksblitz.redis.client import connect, current_keys, each_answer, good
from stocksblitz.redis.keys import BARS_ONLY, computation
from stocksblitz.redis.subscriber import Subscriber
from stocksblitz.workers.leases import ShardLeases
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)


OPENED_AT_ONCE = 32
"""Streams opened in one step: between steps the leases are renewed, and streams that live get their turn."""
REOPEN_S = 1.0
"""A stream whose bars do not fit together is opened anew at most this often."""
UNFIT = 10
"""Readings in a row in which the forming bar did not follow the closed ones, until the stream is opened anew."""
AGAIN_S = 0.01
"""How soon to read again what was caught between two writes."""


class StreamRunner:
    """One worker. `step` does what is due; `run_leases`, `reconcile` and the subscriber tell it what that is."""

    def __init__(self) -> None:
        self.redis = connect()
        self.keys = current_keys()
        self.leases = ShardLeases(self.redis, self.keys, "compute")
        self.tally = ComputeCounters()
        self._publisher = Publisher(self.redis, self.keys, mock=settings.FEED.mock)
        self._bus = Subscriber(self._on_message, self._on_connect)
        self._wanted = Wanted()
        self._live: dict[StreamId, LiveStream] = {}
        self._fences: dict[StreamId, int] = {}
        self._unfit: dict[StreamId, int] = defaultdict(int)
        self._opened: dict[StreamId, float] = {}
        self._heard: set[str] = set()
        self._readable = Readable()
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._epochs = 0

    async def start(self) -> None:
        await self._bus.start()
        await self._bus.subscribe(self.keys.demand)
        await self._bus.subscribe(self.keys.bar_updates)

    async def close(self) -> None:
        await self._bus.close()
        await self.leases.close()
        await self.redis.aclose()

    def wake(self) -> None:
        """Something changed that no message tells of, such as a lease."""
        self._wake.set()

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def _on_message(self, channel: str, data: bytes) -> None:
        message = orjson.loads(data)
        if channel == self.keys.bar_updates:
            self._dirty.update(message["symbols"])
        else:
            self._heard.update(message["add"], message["drop"])
            for each in message["add"]:
                self._wanted.add(each)
            for each in message["drop"]:
                self._wanted.drop(each, time.monotonic())
        self._wake.set()

    async def _on_connect(self) -> None:
        """Anything may have been missed."""
        self._dirty.update(self._wanted.by_symbol)
        self._wake.set()

    async def reconcile(self) -> None:
        """Make what is wanted agree with Redis, whatever was announced or missed.

        What is announced while Redis answers is newer than the answer, and stands.
        """
        self._heard.clear()
        members = {raw.decode() for raw in await self.redis.smembers(self.keys.wanted)}
        self._wanted.agree(members, self._heard, time.monotonic())
        published = [tuple(raw.decode().split("|")) for raw in await self.redis.hkeys(self.keys.positions)]
        mine = [stream for stream in published if self.leases.fence(stream[0]) is not None]
        self._wanted.find_left(mine, time.monotonic())
        self._wake.set()

    async def _end_unwanted(self) -> None:
        """End what has had no subscriber for a while; bars alone may still be wanted. And what others left behind."""
        for stream in self._wanted.take_left(time.monotonic()):
            if (fence := self.leases.fence(stream[0])) is not None:
                await self._publisher.end(stream, fence)
        for stream in self._wanted.lapsed(time.monotonic()):
            bars = await self.redis.sismember(self.keys.wanted, computation(*stream, BARS_ONLY))
            if self._wanted.unwanted.pop(stream, None) is not None and not bars:  # not wanted again meanwhile
                await self._end(stream)

    async def _end(self, stream: StreamId) -> None:
        if self._wanted.forget(stream):
            self._readable.forget(stream[0])
        self.tally.forget(stream)
        for memory in (self._unfit, self._opened):
            memory.pop(stream, None)
        if self._live.pop(stream, None) is not None:
            await self._publisher.end(stream, self._fences.pop(stream))

    # --- one step -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Work whenever a flush, a wish or a lease gives cause, until the stop."""
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
                if not failures:
                    log.warning("Redis fails, trying again: %s", error, extra={"action": "trouble"})
                failures += 1
                self._dirty.update(self._wanted.by_symbol)
                await asyncio.sleep(min(1.0, 0.05 * 2**failures))
                self._wake.set()
        stopped.cancel()

    async def step(self) -> bool:
        """One turn over everything that is due; returns whether there was any."""
        await self._end_unwanted()
        self._release_lost()
        changed, self._wanted.changed = self._wanted.changed, set()
        dirty, self._dirty = self._dirty, set()
        due = [stream for symbol in dirty for stream in self._wanted.by_symbol.get(symbol, ())]
        due += [stream for stream in changed if stream in self._wanted.specs and stream[0] not in dirty]
        due += [stream for stream in self._missing() if stream[0] not in dirty and stream not in changed]
        mine = [stream for stream in due if self.leases.fence(stream[0]) is not None]
        try:
            for some in self._portions(mine):
                await self._advance(some, changed)
        except BaseException:
            self._wanted.changed |= changed  # what was new in them is not computed yet
            raise
        await self._say_stale()
        return bool(mine)

    def _portions(self, streams: list[StreamId]) -> Iterator[list[StreamId]]:
        """All that live at once, then some of those to be opened, the ones that waited longest; the others next time."""
        living = [each for each in streams if each in self._live]
        others = sorted((each for each in streams if each not in self._live), key=self._opened_at)
        if living:
            yield living
        if others:
            yield others[:OPENED_AT_ONCE]
        if len(others) > OPENED_AT_ONCE:
            self._wake.set()

    def _opened_at(self, stream: StreamId) -> float:
        return self._opened.get(stream, 0.0)

    def _missing(self) -> list[StreamId]:
        now = time.monotonic()
        return [
            stream
            for stream in self._wanted.specs
            if stream not in self._live and now - self._opened_at(stream) >= REOPEN_S
        ]

    def _release_lost(self) -> None:
        """Forget the streams whose lease is gone or was taken anew: what is published meanwhile is not ours."""
        for stream, fence in list(self._fences.items()):
            if self.leases.fence(stream[0]) != fence:
                self._forget(stream)

    def _forget(self, stream: StreamId) -> None:
        self._live.pop(stream, None)
        self._fences.pop(stream, None)
        self._opened[stream] = time.monotonic()

    async def _advance(self, streams: list[StreamId], changed: set[StreamId]) -> None:
        quotes, forming = await self._read_quotes(streams)
        for stream in [stream for stream in streams if stream[0] not in quotes]:
            streams.remove(stream)
            if stream in changed:
                self._wanted.changed.add(stream)
            if stream not in self._live:
                self._forget(stream)  # others that wait to be opened come first next time
        fresh: list[StreamId] = []
        for stream in streams:
            live = self._live.get(stream)
            if live is None or not live.follows(quotes[stream[0]]):
                self._forget(stream)
                fresh.append(stream)
            else:
                live.quote = quotes[stream[0]]
        living = [stream for stream in streams if stream not in fresh]
        closed = await self._read_closed(living, forming, changed)
        self._wanted.changed |= changed.intersection(living) - closed.keys()
        batches = await self._begin(fresh, quotes, forming)
        for stream in streams:
            live = self._live.get(stream)
            if live is not None:
                batch = batches.setdefault(stream, Batch())
                with self._readable(stream[0], partial(self._forget, stream)):
                    self._move(
                        live, stream, closed.get(stream), forming.get(stream), stream in changed, batch
                    )
        await self._write(batches)

    async def _read_quotes(
        self, streams: list[StreamId]
    ) -> tuple[dict[str, StreamQuote], dict[StreamId, Forming]]:
        """In one round trip: what the feed says of each symbol, and the forming bar of each stream."""
        timeframes: dict[str, list[str]] = defaultdict(list)
        for symbol, timeframe in streams:
            timeframes[symbol].append(timeframe)
        pipe = self.redis.pipeline(transaction=False)
        for symbol, wanted in timeframes.items():
            pipe.hmget(self.keys.market(symbol), *FIELDS, *(f"bar:{each}" for each in wanted))
        quotes: dict[str, StreamQuote] = {}
        forming: dict[StreamId, Forming] = {}
        for (symbol, wanted), answer in zip(timeframes.items(), await each_answer(pipe), strict=True):
            with self._readable(symbol):
                fields = good(answer)
                quotes[symbol] = quote_of(fields[: len(FIELDS)])
                for timeframe, raw in zip(wanted, fields[len(FIELDS) :], strict=True):
                    with self._readable(symbol):
                        if raw:
                            forming[symbol, timeframe] = forming_of(raw)
        return quotes, forming

    async def _read_closed(
        self, streams: list[StreamId], forming: dict[StreamId, Forming], changed: set[StreamId]
    ) -> dict[StreamId, list[Bar]]:
        """The bars that closed since; for streams with new indicators, the history that these are opened on."""
        pipe = self.redis.pipeline(transaction=False)
        asked: list[StreamId] = []
        for stream in streams:
            live = self._live[stream]
            if stream in changed:
                pipe.zrange(self.keys.bars(*stream), -settings.HOT_BARS, -1)
            elif stream not in forming or forming[stream][1] > live.last_ts:
                pipe.zrangebyscore(self.keys.bars(*stream), f"({live.last_ts}", "+inf")
            else:
                continue
            asked.append(stream)
        if not asked:
            return {}
        closed: dict[StreamId, list[Bar]] = {}
        for stream, rows in zip(asked, await each_answer(pipe), strict=True):
            with self._readable(stream[0]):
                closed[stream] = [bar_of(raw) for raw in good(rows)]
        return closed

    async def _begin(
        self, streams: list[StreamId], quotes: dict[str, StreamQuote], forming: dict[StreamId, Forming]
    ) -> dict[StreamId, Batch]:
        """Open streams: their history and how far they have been published, in one round trip."""
        if not streams:
            return {}
        pipe = self.redis.pipeline(transaction=False)
        for stream in streams:
            pipe.zrange(self.keys.bars(*stream), -settings.HOT_BARS, -1)
            pipe.get(self.keys.stream(*stream, "pos"))
        answers = await each_answer(pipe)
        batches: dict[StreamId, Batch] = {}
        for stream, rows, position in zip(streams, answers[::2], answers[1::2], strict=True):
            with self._readable(stream[0]):
                bars = [bar_of(raw) for raw in good(rows)]
                published = StreamPosition.load(position if isinstance(position, bytes) else None)
                batch = self._open(stream, bars, published, quotes[stream[0]], forming.get(stream))
                if batch is not None:
                    batches[stream] = batch
        return batches

    def _open(
        self,
        stream: StreamId,
        bars: list[Bar],
        published: StreamPosition,
        quote: StreamQuote,
        forming: Forming | None,
    ) -> Batch | None:
        """Begin an epoch, unless it is too early for it."""
        fence = self.leases.fence(stream[0])
        if fence is None or quote.source is None:
            return None  # the feed has said nothing of the symbol yet: what bars there are may not be all
        if not reaches(bars, forming):
            self._again(stream[0])
            return None
        self._epochs += 1
        live = LiveStream(*stream, f"{fence:x}.{self._epochs:x}", quote)
        batch = live.begin(bars, self._wanted.specs[stream].values(), published, now_ms())
        self._live[stream], self._fences[stream] = live, fence
        self._opened[stream] = time.monotonic()
        return batch

    def _move(
        self,
        live: LiveStream,
        stream: StreamId,
        bars: list[Bar] | None,
        forming: Forming | None,
        changed: bool,
        batch: Batch,
    ) -> None:
        now = now_ms()
        if bars is not None:
            live.close(bars, batch, now)
            if changed and reaches(bars, forming):
                live.want(self._wanted.specs[stream].values(), bars)
                self.tally.change(stream)
            elif changed:
                self._wanted.changed.add(stream)
                self._again(stream[0])
        if forming is not None:
            if live.peek(*forming, batch, now):
                self._unfit.pop(stream, None)
            else:
                self._reread(stream)
        elif changed and bars is not None:
            live.repeat(batch, now)
        self.tally.count(stream, live, batch)

    def _reread(self, stream: StreamId) -> None:
        """The forming bar follows a bar we have not seen: it was written between two reads. Read again, soon."""
        self._unfit[stream] += 1
        if self._unfit[stream] > UNFIT:
            log.warning("%s %s does not fit together, opening it anew", *stream, extra={"action": "reopen"})
            del self._unfit[stream]
            self._forget(stream)
        self._again(stream[0])

    def _again(self, symbol: str) -> None:
        self._dirty.add(symbol)
        asyncio.get_running_loop().call_later(AGAIN_S, self._wake.set)

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
            for live, *_ in due:  # what of it arrived is not known: begin again from what was published
                self._forget((live.symbol, live.timeframe))
            raise
        for live in refused:
            log.warning(
                "%s %s is another worker's now", live.symbol, live.timeframe, extra={"action": "fenced_off"}
            )
            self._forget((live.symbol, live.timeframe))
        await self._publisher.remember([each for each in due if each[0] not in refused])

    async def _say_stale(self) -> None:
        """A price that got too old without a tick: say so once."""
        now = now_ms()
        batches: dict[StreamId, Batch] = {}
        for stream, live in self._live.items():
            if not live.stale and live.forming is not None and now > live.quote.fresh_until:
                batches[stream] = Batch()
                live.repeat(batches[stream], now)
        await self._write(batches)

    def streams(self) -> Iterable[StreamId]:
        """What this worker computes at the moment."""
        return self._live.keys()
