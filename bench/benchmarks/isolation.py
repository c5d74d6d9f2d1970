"""Does each session get exactly its own? 200 sessions of 20 users change their minds while frames flow.

Every message to every session is checked against what the session has at that moment (`bench.load.expected`), and every
value against the stream, the indicator, the epoch and the number that its frame says it is of. One violation fails the
benchmark. ``BENCH_AUDIT_S`` sets for how long, ``BENCH_AUDIT_SEED`` what the sessions do.
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
"""Of each user, made beforehand: signing in hashes a password, which is dear on purpose."""
SEED = int(os.environ.get("BENCH_AUDIT_SEED", "1"))
SYMBOLS = [f"AUDIT{at}" for at in range(10)]
TIMEFRAMES = ["1min", "5min", "1h"]
ASKED = [
    "RSI_14", "RSI_14_100", "RSI_21", "SMA_10", "SMA_20", "SMA_50", "EMA_9", "EMA_21", "EMA_50", "WMA_20", "HMA_9",
    "ATR_14", "CCI_20", "ROC_10", "MOM_10", "WILLR_14", "MFI_14",
]  # fmt: skip
"""Two of them are computed under one id."""
COMPUTED = list(dict.fromkeys(parse(asked).id for asked in ASKED))
PLACES = {asked: COMPUTED.index(parse(asked).id) for asked in ASKED}
FLUSH_S = 0.05
FRAMES_PER_BAR = 50
EPOCH_EVERY_S = 0.5
"""How often one of the streams begins a new epoch, as after a takeover by another worker."""
SETTLE_S = 30.0
SHOWN = 20
"""Violations that are shown; all are counted."""


@dataclass
class TellingStream(FakeStream):
    """A stream whose every value tells which one it is: of which stream, epoch, frame and indicator."""

    number: int = 0
    begins: bool = field(default=True, init=False)

    def begin_epoch(self) -> None:
        """The next frame is the base of a new epoch: the last closed bar again."""
        self.epoch, self.seq, self.begins = str(int(self.epoch) + 1), 0, True

    def _content(self, seq: int) -> dict[str, Any]:
        base, self.begins = self.begins, False
        closes = not base and seq % FRAMES_PER_BAR == 0
        content = super()._content(seq)
        ts = self.closed_ts + (0 if base else MINUTE_MS)
        content["ohlcv"].update(ts=ts, open=code(self.number, self.epoch, seq), closed=base or closes)
        content["prev"] = ts - MINUTE_MS
        if base:
            content["base"] = True
        self.logged, self.closed_ts = base or closes, ts if closes else self.closed_ts
        return content

    def _value(self, indicator: str, price: float, at: int) -> dict[str, Any]:
        return {**super()._value(indicator, price, at), "value": code(self.number, self.epoch, self.seq) + at}


def code(stream: int, epoch: str, seq: int) -> float:
    """One number for each frame, with room for its indicators' places; a float holds it exactly."""
    return float(((int(epoch) * 1_000_000 + seq) * 100 + stream) * 100)


class Market:
    """The streams, published together every `FLUSH_S`, as compute publishes what one flush of the feed has changed."""

    def __init__(self, redis: Any, site: Site) -> None:
        self._redis, self._keys = redis, site.keys
        pairs = [(symbol, timeframe) for symbol in SYMBOLS for timeframe in TIMEFRAMES]
        self.streams = {
            pair: TellingStream(*pair, COMPUTED, epoch="1", number=at) for at, pair in enumerate(pairs)
        }
        self._turns = self._epochs()

    async def publish(self) -> None:
        await publish(self._redis, self._keys, self.streams.values())

    async def run(self) -> None:
        """Publish until cancelled, no faster than the flushes come."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + FLUSH_S
            next(self._turns)
            await asyncio.shield(self.publish())
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _epochs(self) -> Iterator[None]:
        every = int(EPOCH_EVERY_S / FLUSH_S)
        while True:
            for stream in self.streams.values():
                for _ in range(every - 1):
                    yield
                stream.begin_epoch()
                yield

    def newest(self) -> dict[tuple[str, str], tuple[str, int]]:
        return {pair: (stream.epoch, stream.seq) for pair, stream in self.streams.items()}

    def judge(self, message: dict[str, Any]) -> str | None:
        """Whether the values are those of this frame of this stream, each under the id it was asked for."""
        stream = self.streams[message["symbol"], message["timeframe"]]
        start = code(stream.number, message["epoch"], message["seq"])
        if message["ohlcv"]["open"] != start:
            return f"the bar is another frame's, not {start}"
        for asked, entry in message["indicators"].items():
            if entry["value"] != start + PLACES[asked]:
                return f"{asked} is another value, not {start + PLACES[asked]}"
        return None


async def isolation(site: Site, report: Report) -> None:
    async with aioredis.Redis.from_url(site.rig.redis_url) as redis:
        market = Market(redis, site)
        await market.publish()
        webs = [await asyncio.to_thread(site.web) for _ in range(WEBS)]
        logins = [iter(site.tokens[user::USERS]) for user in range(USERS)]
        audit = Audit(
            [web.port for web in webs],
            list(market.streams),
            ASKED,
            sign_in=lambda user: next(logins[user]),
            own_logins=True,
            judge=market.judge,
        )
        publishing = asyncio.create_task(market.run())
        await audit.begin(USERS, SESSIONS, SEED)
        report.say(f"{SESSIONS} sessions live; {audit.deliveries} updates checked so far do not count")
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
    tell(audit, seconds, cpu, report)


def tell(audit: Audit, seconds: float, cpu: list[float], report: Report) -> None:
    """Report what was counted; AssertionError when anything was found."""
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
    with harness.rig(**LIMITS) as rig:
        uvloop.run(isolation(prepare(rig, users=USERS, logins=LOGINS, symbols=SYMBOLS), report))
