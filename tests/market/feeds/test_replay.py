"""A file of bars played again."""

import asyncio
import contextlib
import logging

import pytest

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.feeds.replay.feed import ReplayFeed, glimpse
from stocksblitz.market.feeds.spec import FeedSpec
from stocksblitz.market.feeds.writer import MarketWriter
from stocksblitz.market.models import Bar as StoredBar
from stocksblitz.market.models import Instrument
from stocksblitz.workers.runtime import now_ms
from tests.market.feeds.reading import ALL, Reader, file_bars, forming, grouped, hot, market, same

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60_000
START = 1_795_219_200_000


class Player:
    """A replay without a process: turns are taken by the test."""

    def __init__(self, setting, aredis, keys):
        self.feed = ReplayFeed(FeedSpec.parse(setting), aredis, keys)
        self.writer = MarketWriter(aredis, keys, self.feed, mock=True)

    async def open(self):
        intact = await self.writer.inspect()
        await self.feed.open(intact=intact, gen=self.writer.gen)
        await self.writer.mark()
        return self

    async def turn(self, now=0):
        more = await self.feed.step(now or now_ms())
        await self.writer.flush()
        return more


@pytest.fixture
def play(aredis, mock_keys):
    return lambda setting: Player(setting, aredis, mock_keys).open()


@pytest.fixture
def file(tmp_path):
    def write(rows, name="rows.csv"):
        path = tmp_path / name
        lines = [
            f"{START + i * MINUTE},{10 + i % 7},{12 + i % 7},{9 + i % 7},{11 + i % 7},{i + 1}"
            for i in range(rows)
        ]
        path.write_text("\n".join(["ts,open,high,low,close,volume", *lines]))
        return path

    return write


async def to_the_end(player, reader):
    idle = 0
    while idle < 3:
        await player.turn()
        idle = 0 if reader.read() or not player.feed.round.ended else idle + 1


@pytest.mark.parametrize(
    ("name", "symbol", "exchange"),
    [("BTCUSD", "BTCUSD", "24x7"), ("6E", "6E", "XCME"), ("SPY", "SPY", "XNYS")],
)
async def test_a_real_file_comes_out_exactly_and_larger_bars_are_right(
    play, data, redis, mock_keys, name, symbol, exchange
):
    path = data / "bars" / f"{name}_1min.csv"
    player = await play(f"replay:{path}?symbol={symbol}&exchange={exchange}&speed=max")
    reader = Reader(redis, mock_keys, symbol, ALL)
    await to_the_end(player, reader)
    rows = file_bars(path)
    assert [bar[:6] for bar in reader.seen["1min"]] == [row[:6] for row in rows]
    for timeframe in ALL[1:]:
        expected, found = grouped(exchange, rows, timeframe), reader.seen[timeframe]
        left = forming(redis, mock_keys, symbol, timeframe)
        same(found + ([left[0]] if left else []), expected)
    quote = market(redis, mock_keys, symbol)
    assert float(quote["last"]) == rows[-1].close
    assert rows[-1].ts <= int(quote["ts"]) < rows[-1].ts + MINUTE
    assert quote["source"] == "replay"
    assert (
        int(quote["fresh_until"]) > now_ms() + 365 * 86_400_000 or rows[-1].ts < now_ms() - 365 * 86_400_000
    )


async def test_full_speed_waits_while_nobody_wants_the_symbol(play, file, redis, mock_keys):
    player = await play(f"replay:{file(50)}?symbol=AAA&speed=max")
    Reader(redis, mock_keys, "BBB", ["1min"])
    for _ in range(3):
        assert not await player.turn()
    assert hot(redis, mock_keys, "AAA", "1min") == []
    Reader(redis, mock_keys, "AAA", ["1min"])
    await player.turn()
    assert len(hot(redis, mock_keys, "AAA", "1min")) == 50


async def test_full_speed_never_runs_ahead_of_the_slowest_stream(play, file, redis, mock_keys, settings):
    settings.HOT_BARS = 100
    player = await play(f"replay:{file(400)}?symbol=AAA&speed=max")
    fast, slow = Reader(redis, mock_keys, "AAA", ["5min"]), Reader(redis, mock_keys, "AAA", ["1min"])
    while not player.feed.round.ended:
        for _ in range(5):
            await player.turn()
            fast.read()
            assert player.feed.round.next - len(slow.seen["1min"]) <= player.feed.readers.limit
        slow.read()
    slow.read()
    fast.read()
    assert len(slow.seen["1min"]) == 400
    assert len(fast.seen["5min"]) == 80


async def test_full_speed_waits_for_a_slow_reader(play, file, redis, mock_keys):
    player = await play(f"replay:{file(50)}?symbol=AAA&speed=max")
    Reader(redis, mock_keys, "AAA", ["1min"])
    redis.hset(mock_keys.readers("AAA"), "5min|web", f"-1|{now_ms()}")
    await player.turn()
    assert player.feed.round.next == 0
    redis.hset(mock_keys.readers("AAA"), "5min|web", f"-1|{now_ms() - 60_000}")  # that process is gone
    await player.turn()
    assert player.feed.round.next == 50


async def test_speed_is_kept(play, file, redis, mock_keys):
    player = await play(f"replay:{file(50)}?symbol=AAA&speed=60")
    now = now_ms()
    for seconds, rows in ((0, 0), (0.9, 0), (1.0, 1), (1.1, 1), (4.05, 4), (30, 30)):
        await player.turn(round(now + seconds * 1000))
        assert player.feed.round.next == rows


async def test_gaps_in_the_file_take_no_time(play, tmp_path):
    path = tmp_path / "gap.csv"
    starts = [0, 1, 2, 5_000, 5_001]
    path.write_text(
        "ts,open,high,low,close\n" + "\n".join(f"{START + i * MINUTE},1,2,0.5,1.5" for i in starts)
    )
    player = await play(f"replay:{path}?symbol=AAA&speed=60")
    now = now_ms()
    for second in range(6):
        await player.turn(now + second * 1000)
    assert player.feed.round.ended


async def test_at_a_slow_speed_the_bar_is_seen_to_move(play, file, redis, mock_keys):
    player = await play(f"replay:{file(5)}?symbol=AAA&speed=60")
    now, seen = now_ms(), []
    for tenth in range(10):
        await player.turn(now + tenth * 100)
        shown = forming(redis, mock_keys, "AAA", "1min")[0]
        larger = forming(redis, mock_keys, "AAA", "5min")[0]
        assert larger[1:6] == shown[1:6]
        seen.append((shown.high, shown.low, shown.close))
        assert float(market(redis, mock_keys, "AAA")["last"]) == shown.close
    assert list(dict.fromkeys(seen)) == [(10, 10, 10), (10, 9, 9), (12, 9, 12), (12, 9, 11)]
    await player.turn(now + 1_000)
    assert [bar[:6] for bar in hot(redis, mock_keys, "AAA", "1min")] == [(START, 10, 12, 9, 11, 1)]
    now, before = forming(redis, mock_keys, "AAA", "1min")
    assert (now[:5], before) == ((START + MINUTE, 11, 11, 11, 11), START)


def test_a_glimpse_ends_as_the_row():
    from stocksblitz.market.core.bars import Bar

    row = Bar(0, 10.0, 12.0, 9.0, 9.5, 8.0)
    assert glimpse(row, 0.99)[:5] == row[:5]
    assert glimpse(row, 0.3) == Bar(0, 10.0, 12.0, 10.0, 12.0, 2.4)


async def test_at_the_end_of_the_file_bars_close_whose_end_is_reached(play, file, redis, mock_keys):
    player = await play(f"replay:{file(7)}?symbol=AAA&speed=max")
    Reader(redis, mock_keys, "AAA", ["1min"])
    await player.turn()
    assert [len(hot(redis, mock_keys, "AAA", timeframe)) for timeframe in ("1min", "3min", "5min")] == [
        7,
        2,
        1,
    ]
    assert forming(redis, mock_keys, "AAA", "1min") is None
    assert forming(redis, mock_keys, "AAA", "5min")[0].ts == START + 5 * MINUTE
    assert player.feed.finished


async def test_a_killed_replay_goes_on_where_it_was(play, data, redis, mock_keys):
    path = data / "bars" / "SPY_1min.csv"
    setting = f"replay:{path}?symbol=SPY&exchange=XNYS&speed=max"
    reader = Reader(redis, mock_keys, "SPY", ALL)
    player = await play(setting)
    places = []
    while not player.feed.round.ended:
        await player.turn()
        reader.read()
        places.append(player.feed.round.next)
        player = await play(setting)  # the one before is simply forgotten
        assert player.feed.round.next == places[-1]
    rows = file_bars(path)
    assert len(places) > 2
    assert [bar[:6] for bar in reader.seen["1min"]] == [row[:6] for row in rows]
    for timeframe in ALL[1:]:
        same(reader.seen[timeframe], grouped("XNYS", rows, timeframe))


async def test_rows_that_were_flushed_without_the_place_come_again_the_same(play, file, redis, mock_keys):
    setting = f"replay:{file(50)}?symbol=AAA&speed=max"
    player = await play(setting)
    Reader(redis, mock_keys, "AAA", ["1min"])
    await player.turn()
    before = {timeframe: hot(redis, mock_keys, "AAA", timeframe) for timeframe in ALL}
    redis.set(player.feed.cursor, b'{"row":20,"gen":1}')
    player = await play(setting)
    await player.turn()
    assert {timeframe: hot(redis, mock_keys, "AAA", timeframe) for timeframe in ALL} == before


async def test_another_file_begins_at_its_first_row(play, file):
    player = await play(f"replay:{file(50)}?symbol=AAA&speed=6000000")
    player.feed._due = now_ms() - 1_000
    await player.turn()
    assert player.feed.round.next == 50
    player = await play(f"replay:{file(40, 'other.csv')}?symbol=AAA&speed=60")
    assert player.feed.round.next == 0


async def test_a_loop_begins_anew_with_nothing_of_the_round_before(play, file, redis, mock_keys):
    player = await play(f"replay:{file(20)}?symbol=AAA&speed=max&loop=true")
    reader = Reader(redis, mock_keys, "AAA", ["1min", "5min"])
    await player.turn()
    gen = int(market(redis, mock_keys, "AAA")["gen"])
    for _ in range(3):
        await player.turn()
    assert int(market(redis, mock_keys, "AAA")["gen"]) == gen  # not all has been read
    assert len(hot(redis, mock_keys, "AAA", "1min")) == 20
    reader.read()
    await player.turn()
    assert int(market(redis, mock_keys, "AAA")["gen"]) == gen + 1
    assert hot(redis, mock_keys, "AAA", "1min") == []
    assert forming(redis, mock_keys, "AAA", "1h") is None
    assert not redis.hexists(mock_keys.positions, "AAA|1min")
    await player.turn()
    assert len(hot(redis, mock_keys, "AAA", "1min")) == 20
    player = await play(f"replay:{player.feed.options.path}?symbol=AAA&speed=max&loop=true")
    assert (player.feed.markets["AAA"].gen, player.feed.round.next) == (gen + 1, 20)


async def test_a_lost_hot_store_is_filled_up_to_where_the_replay_is(play, file, redis, mock_keys):
    player = await play(f"replay:{file(500)}?symbol=AAA&speed=60")
    now = now_ms()
    await player.turn(now)
    await player.turn(now + 80_000)
    before = {timeframe: hot(redis, mock_keys, "AAA", timeframe) for timeframe in ALL}
    for key in redis.scan_iter(match=f"{mock_keys.prefix}*"):
        redis.delete(key)
    await player.writer.flush()
    assert player.writer.lost
    await player.writer.refill(list(player.feed.markets))
    await player.writer.flush()
    assert len(before["1min"]) == 80
    assert {timeframe: hot(redis, mock_keys, "AAA", timeframe) for timeframe in ALL} == before
    assert redis.exists(player.feed.cursor)


async def test_broken_lines_are_told_with_their_number(play, tmp_path, caplog):
    path = tmp_path / "broken.csv"
    rows = [f"{START + i * MINUTE},1,2,0.5,1.5" for i in range(6)]
    rows[2] = "what,1,2,0.5,1.5"
    path.write_text("\n".join(["ts,open,high,low,close", *rows]))
    with caplog.at_level(logging.WARNING):
        player = await play(f"replay:{path}?symbol=AAA&speed=max")
    assert [record.line for record in caplog.records if record.action == "broken_row"] == [4]
    assert len(player.feed.rows.bars) == 5


async def test_the_instrument_is_made_if_it_is_not_there(play, file):
    await play(f"replay:{file(50)}?symbol=GBPUSD&exchange=24x5&speed=max")
    made = await Instrument.objects.aget(symbol="GBPUSD")
    assert (made.exchange, made.kind, made.base_currency, made.currency) == ("24x5", "forex", "GBP", "USD")
    await Instrument.objects.filter(symbol="GBPUSD").aupdate(name="Cable")
    await play(f"replay:{file(50)}?symbol=GBPUSD&exchange=24x5&speed=max")
    assert (await Instrument.objects.aget(symbol="GBPUSD")).name == "Cable"
    assert await StoredBar.objects.acount() == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("replay:x.csv", "names its file and symbol"),
        ("replay:?symbol=AAA", "names its file and symbol"),
        ("replay:x.csv?symbol=aaa:b", "a symbol is"),
        ("replay:x.csv?symbol=metrics", "a symbol is"),
        ("replay:x.csv?symbol=AAA&exchange=NYSE", "market identifier code"),
        ("replay:x.csv?symbol=AAA&speed=fast", "speed is a number"),
        ("replay:x.csv?symbol=AAA&speed=0", "speed is a number"),
        ("replay:x.csv?symbol=AAA&speed=-1", "speed is a number"),
        ("replay:x.csv?symbol=AAA&timeframe=2min", "timeframe is one of"),
        ("replay:x.csv?symbol=AAA&pace=3", "knows the options"),
        ("replay:/no/such/file.csv?symbol=AAA", "cannot be read"),
    ],
)
async def test_a_wrong_setting_is_a_clear_error(play, setting, message):
    with pytest.raises(StocksBlitzError, match=message):
        await play(setting)


async def test_readers_may_come_and_go_at_full_speed(play, file, redis, mock_keys, settings):
    settings.HOT_BARS = 60
    player = await play(f"replay:{file(300)}?symbol=AAA&speed=max")
    first = Reader(redis, mock_keys, "AAA", ["1min"])
    for _ in range(3):
        await player.turn()
        first.read()
    redis.srem(mock_keys.wanted, "AAA|1min|-")
    await player.turn()
    late = Reader(redis, mock_keys, "AAA", ["5min", "1min"])
    async with asyncio.timeout(20):
        while not player.feed.round.ended:
            await player.turn()
            late.read()
    late.read()
    assert late.seen["1min"][-1].ts == START + 299 * MINUTE
    starts = [bar.ts for bar in late.seen["1min"]]
    assert starts == list(range(starts[0], START + 300 * MINUTE, MINUTE))
    with contextlib.suppress(StopIteration):
        assert next(iter(late.seen["5min"])).ts % (5 * MINUTE) == 0
