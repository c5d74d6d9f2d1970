"""Real market data through the whole server: every closed value sent equals that of an independent batch."""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.replays import MINUTE, Truth, cut, larger
from tests.e2e.stack import Stack
from tests.e2e.tabs import Tab, check_order, closed_bars, token_of
from tests.indicators.engine.data import COMMON, read

pytestmark = pytest.mark.process

# file: exchange, gap that begins a session, last 5min slot of a session, rows played
FILES = {
    "BTCUSD_1min": ("24x7", 0, 10**9, 2500),
    "6E_1min": ("XCME", 30 * MINUTE, 10**9, 2500),
    "SPY_1min": ("XNYS", 60 * MINUTE, 77, 1564),
}


@pytest.mark.parametrize("name", FILES)
async def test_every_closed_value_sent_equals_an_independent_batch_over_the_file(stack, data, tmp_path, name):
    exchange, gap, last_slot, rows = FILES[name]
    symbol = name.partition("_")[0]
    file = cut(data / "bars" / f"{name}.csv", tmp_path / "bars.csv", rows)
    minutes = read(file, gap)
    truth = {"1min": Truth(minutes), "5min": Truth(larger(minutes, 5, last_slot))}
    server = stack(FEED=f"replay:{file}?symbol={symbol}&exchange={exchange}&speed=max").start().wait_ready()
    tab = await Tab.open(server)
    snapshots = {}
    for timeframe in truth:
        _, snapshots[timeframe] = await tab.subscribe(symbol, timeframe, COMMON, history=300)
    last = {timeframe: list(known.bars)[-2] for timeframe, known in truth.items()}
    while last:
        message = await tab.receive()
        bar = message.get("ohlcv")
        if bar and bar["closed"] and bar["ts"] >= last.get(message["timeframe"], bar["ts"] + 1):
            del last[message["timeframe"]]
    for timeframe, known in truth.items():
        check_order(tab.messages, symbol, timeframe)
        frames = closed_bars(tab.messages, symbol, timeframe)
        assert sum(known.check_frame(frame) for frame in frames) > len(COMMON)
        snapshot = snapshots[timeframe]
        history = snapshot["history"]
        for place, bar in enumerate(history["bars"]):
            known.check_bar(dict(zip(("ts", "open", "high", "low", "close", "volume"), bar, strict=True)))
            for each in COMMON:
                if history["indicators"][each][place] is not None:
                    known.check_value(each, bar[0], history["indicators"][each][place])
        seen = [bar[0] for bar in history["bars"]]
        seen += [snapshot["ohlcv"]["ts"]] if snapshot["ohlcv"] and snapshot["ohlcv"]["closed"] else []
        seen += [frame["ohlcv"]["ts"] for frame in frames]
        expected = [ts for ts in known.bars if seen[0] <= ts <= seen[-1]]
        assert seen == expected, f"{timeframe}: missing {set(expected) - set(seen)}"
        assert len(seen) >= len(known.bars) - 3
    await tab.close()


class Faithful:
    """A client that comes back after every loss with ``since_bar`` and keeps the closed bars that it was given."""

    def __init__(self, server, token, symbol, timeframe) -> None:
        self.server, self.token, self.symbol, self.timeframe = server, token, symbol, timeframe
        self.closed: list[dict] = []
        self.bars: list[int] = []
        self.session_id: str | None = None
        self.tab: Tab | None = None

    async def connect(self) -> None:
        self.tab = await Tab.open(self.server, self.token, self.session_id)
        self.session_id = self.tab.session_id
        options = {"since_bar": self.bars[-1]} if self.bars else {}
        _, snapshot = await self.tab.subscribe(self.symbol, self.timeframe, COMMON, **options)
        assert snapshot["history"]["complete"] is True
        self.bars += [bar[0] for bar in snapshot["history"]["bars"]]
        self._take_bar(snapshot)

    def _take_bar(self, message) -> None:
        bar = message["ohlcv"]
        if bar and bar["closed"] and (not self.bars or bar["ts"] > self.bars[-1]):
            self.bars.append(bar["ts"])

    async def close(self) -> None:
        if self.tab is not None:
            await self.tab.close()
        self.tab = None

    async def follow(self, until) -> None:
        while not until():
            try:
                if self.tab is None:
                    await self.connect()
                message = await self.tab.receive()
            except (ConnectionClosed, OSError, AssertionError):
                await self.close()
                await asyncio.sleep(0.2)  # pace of a client that reconnects
                continue
            if message["type"] == "market_update" and message["ohlcv"]["closed"]:
                self.closed.append(message)
                assert not self.bars or message["ohlcv"]["ts"] > self.bars[-1]
                self.bars.append(message["ohlcv"]["ts"])
            elif message["type"] == "snapshot":
                self._take_bar(message)


@pytest.fixture(scope="module")
def replaying(data, tmp_path_factory):
    """Yield a server that replays 50 bars a second for four minutes, and the expected bars and values."""
    file = cut(data / "bars" / "BTCUSD_1min.csv", tmp_path_factory.mktemp("replay") / "bars.csv", 12_000)
    server = Stack(FEED=f"replay:{file}?symbol=BTCUSD&exchange=24x7&speed=3000")
    try:
        yield server.start().wait_ready(), Truth(read(file))
    finally:
        server.close()


@pytest.mark.parametrize("victim", ["compute", "feed", "web"])
async def test_a_process_killed_under_load_costs_no_closed_bar(replaying, victim):
    server, known = replaying
    client = Faithful(server, await token_of(server), "BTCUSD", "1min")
    await client.follow(lambda: len(client.closed) >= 100)
    for _ in range(2):
        before = len(client.bars)
        server.kill(victim)
        await client.follow(lambda before=before: len(client.bars) >= before + 250)
    await client.close()
    expected = [ts for ts in known.bars if client.bars[0] <= ts <= client.bars[-1]]
    assert client.bars == expected
    assert sum(known.check_frame(frame) for frame in client.closed) > 0
