"""Check that each session receives exactly what it subscribed to: 200 sessions of 20 users change their subscriptions.

Every message is checked against the session's subscriptions at that moment (`bench.load.expected`), and every value
against the stream, indicator, epoch and sequence number of its frame. One violation fails the benchmark.
``BENCH_AUDIT_S`` sets the duration in seconds, ``BENCH_AUDIT_SEED`` the seed of the sessions' random operations.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop
from redis import asyncio as aioredis

from bench import harness
from bench.load.audit import Audit
from bench.load.frames import MINUTE_MS, FakeStream, publish
from bench.report import Report, percentile
from bench.site import LIMITS, Site, prepare
from indicators.engine.spec import parse

USERS, SESSIONS, WEBS = 20, 200, 2
AUDIT_S = float(os.environ.get("BENCH_AUDIT_S", "60"))
LOGINS = 20 + int(AUDIT_S / 2)
"""Logins per user, created beforehand because a sign-in hashes a password, which is slow on purpose."""
SEED = int(os.environ.get("BENCH_AUDIT_SEED", "1"))
SYMBOLS = [f"AUDIT{at}" for at in range(10)]
TIMEFRAMES = ["1min", "5min", "1h"]
REQUESTED = [
    "RSI_14", "RSI_14_100", "RSI_21", "SMA_10", "SMA_20", "SMA_50", "EMA_9", "EMA_21", "EMA_50", "WMA_20", "HMA_9",
    "ATR_14", "CCI_20", "ROC_10", "MOM_10", "WILLR_14", "MFI_14",
]  # fmt: skip
"""Ids that the sessions request; two of them (RSI_14 and RSI_14_100) name one computed indicator."""
COMPUTED = list(dict.fromkeys(parse(requested).id for requested in REQUESTED))
PLACES = {requested: COMPUTED.index(parse(requested).id) for requested in REQUESTED}
FLUSH_S = 0.05
"""Seconds between two frames of a stream."""
FRAMES_PER_BAR = 50
EPOCH_EVERY_S = 0.5
"""Seconds until the next stream begins a new epoch, as a stream does when another worker takes it over."""
SETTLE_S = 30.0
"""Seconds within which every session must have the newest frames at the end."""
SHOWN = 20
"""Number of violations that are printed; all of them are counted."""


@dataclass
class TaggedStream(FakeStream):
    """Stream whose every value encodes its own stream, epoch, sequence number and indicator."""

    number: int = 0
    begins: bool = field(default=True, init=False)

    def begin_epoch(self) -> None:
        """Begin a new epoch: its first frame, the base, repeats the last closed bar."""
        self.epoch, self.seq, self.begins = str(int(self.epoch) + 1), 0, True

    def _content(self, seq: int) -> dict[str, Any]:
        base, self.begins = self.begins, False
        closes = not base and seq % FRAMES_PER_BAR == 0
        content = super()._content(seq)
        ts = self.closed_ts + (0 if base else MINUTE_MS)
        content["ohlcv"].update(ts=ts, open=frame_tag(self.number, self.epoch, seq), closed=base or closes)
        content["prev"] = ts - MINUTE_MS
        if base:
            content["base"] = True
        self.logged, self.closed_ts = base or closes, ts if closes else self.closed_ts
        return content

    def _value(self, indicator: str, price: float, index: int) -> dict[str, Any]:
        tag = frame_tag(self.number, self.epoch, self.seq)
        return {**super()._value(indicator, price, index), "value": tag + index}


def frame_tag(stream: int, epoch: str, seq: int) -> float:
    """Return a number that identifies the frame; the two last digits are left for the index of an indicator."""
    return float(((int(epoch) * 1_000_000 + seq) * 100 + stream) * 100)


class Market:
    """All streams, published together every `FLUSH_S` as compute publishes the frames of one flush."""

    def __init__(self, redis: Any, site: Site) -> None:
        self._redis, self._keys = redis, site.keys
        keys = [(symbol, timeframe) for symbol in SYMBOLS for timeframe in TIMEFRAMES]
        self.streams = {
            key: TaggedStream(*key, COMPUTED, epoch="1", number=number) for number, key in enumerate(keys)
        }
        self._turns = self._epochs()

    async def publish(self) -> None:
        """Publish a frame of every stream."""
        await publish(self._redis, self._keys, self.streams.values())

    async def run(self) -> None:
        """Publish a flush every `FLUSH_S` until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + FLUSH_S
            next(self._turns)
            await asyncio.shield(self.publish())
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _epochs(self) -> Iterator[None]:
        flushes = int(EPOCH_EVERY_S / FLUSH_S)
        while True:
            for stream in self.streams.values():
                for _ in range(flushes - 1):
                    yield
                stream.begin_epoch()
                yield

    def newest(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Return the position (epoch and sequence number) of every stream's newest frame."""
        return {key: (stream.epoch, stream.seq) for key, stream in self.streams.items()}

    def judge(self, message: dict[str, Any]) -> str | None:
        """Return an error text unless the values belong to this frame and stand under their requested ids."""
        stream = self.streams[message["symbol"], message["timeframe"]]
        tag = frame_tag(stream.number, message["epoch"], message["seq"])
        if message["ohlcv"]["open"] != tag:
            return f"the bar belongs to another frame, expected the tag {tag}"
        for requested, entry in message["indicators"].items():
            if entry["value"] != tag + PLACES[requested]:
                return f"expected {tag + PLACES[requested]} for {requested}, got {entry['value']}"
        return None


async def isolation(site: Site, report: Report) -> None:
    """Publish frames, run the sessions and report the result of the audit."""
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        market = Market(redis, site)
        await market.publish()
        webs = [await asyncio.to_thread(site.web) for _ in range(WEBS)]
        logins = [iter(site.tokens[user::USERS]) for user in range(USERS)]
        audit = Audit(
            [web.port for web in webs],
            list(market.streams),
            REQUESTED,
            sign_in=lambda user: next(logins[user]),
            own_logins=True,
            judge=market.judge,
        )
        publishing = asyncio.create_task(market.run())
        await audit.begin(USERS, SESSIONS, SEED)
        report.say(
            f"{SESSIONS} sessions are open; the {audit.deliveries} updates checked so far do not count"
        )
        start, audit.deliveries = time.perf_counter(), 0
        cpu = [time.process_time(), sum(web.cpu_s() for web in webs)]
        await audit.run(AUDIT_S)
        seconds = time.perf_counter() - start
        cpu = [time.process_time() - cpu[0], sum(web.cpu_s() for web in webs) - cpu[1]]
        publishing.cancel()
        await asyncio.wait({publishing})
        await market.publish()
        await audit.settle(market.newest(), SETTLE_S)
        audit.close()
    report_audit(audit, seconds, cpu, report)


def report_audit(audit: Audit, seconds: float, cpu: list[float], report: Report) -> None:
    """Report the counters; raise AssertionError when there were violations."""
    kinds, done = dict(audit.kinds), dict(sorted(audit.done.items()))
    report.say(f"messages checked: {kinds}")
    report.say(f"operations: {done}")
    report("isolation: updates delivered and checked", audit.deliveries, "updates", target=">= 1000000")
    report("isolation: violations", len(audit.found), "violations", target="<= 0")
    report("isolation: updates delivered", audit.deliveries / seconds, "updates/s")
    report("isolation: operations of the sessions meanwhile", sum(done.values()), "operations")
    report("isolation: a logout's answer to the close p99", percentile(audit.closes_ms, 0.99), "ms")
    report("isolation: updates read between the two", audit.late, "updates")
    for name, spent in zip(("sessions and publisher", "web processes"), cpu, strict=True):
        report(f"isolation: CPU of the {name}", spent / audit.deliveries * 1e5, "s/100,000 updates")
    if audit.found:
        shown = "\n".join(audit.found[:SHOWN])
        raise AssertionError(f"{len(audit.found)} violations in {audit.deliveries} updates:\n{shown}")


def run(report: Report) -> None:
    """Run the audit with two web processes."""
    with harness.rig(**LIMITS) as rig:
        uvloop.run(isolation(prepare(rig, users=USERS, logins=LOGINS, symbols=SYMBOLS), report))
