"""Feeds as processes: killed, stopped, doubled, and with a Redis that goes away."""

import signal
import subprocess
import threading
import time

import pytest

from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.feeds.simulated.feed import Course, SimulatedFeed
from stocksblitz.market.feeds.simulated.price_path import Simulation
from stocksblitz.market.feeds.simulated.profiles import PROFILES
from stocksblitz.market.models import Instrument
from stocksblitz.workers.runtime import now_ms
from tests.conftest import PATIENCE_S, eventually, redis_server, takes_less
from tests.market.feeds.process import feed, kill
from tests.market.feeds.reading import ALL, Reader, file_bars, forming, grouped, hot, market, same

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

SIMULATED, FEW_BARS = "simulated?symbols=BTCUSD,NIFTY50", {"HOT_BARS": "120"}


def marked(redis, keys):
    return redis.exists(keys.name("feed", "marker"))


def expected_past(symbol, until):
    """Closed bars that begin before ``until``, computed here and now."""
    course = Course.at(
        Simulation(7, next(profile for profile in PROFILES if profile.symbol == symbol)), until
    )
    course.move(until)
    return SimulatedFeed(7, None, None).whole_history(course)


def test_a_simulated_feed_killed_at_any_moment_leaves_no_wrong_bar(namespace, redis, mock_keys):
    for wait_for in (lambda: redis.exists(mock_keys.bars("BTCUSD", "1d")), lambda: marked(redis, mock_keys)):
        with feed(SIMULATED, namespace, **FEW_BARS) as process:
            eventually(wait_for, 60)
            kill(process)
    with feed(SIMULATED, namespace, **FEW_BARS):
        eventually(lambda: marked(redis, mock_keys), 60)
        began = now_ms()
        eventually(lambda: int(market(redis, mock_keys, "BTCUSD").get("ts", 0)) > began, 60)
        for symbol in ("NIFTY50", "BTCUSD"):
            found = {timeframe: hot(redis, mock_keys, symbol, timeframe) for timeframe in TIMEFRAMES}
            wanted = expected_past(symbol, now_ms())
            for timeframe, bars in found.items():
                assert bars == [bar for bar in wanted[timeframe] if bar.ts <= bars[-1].ts][-120:]


def test_a_replay_killed_at_any_moment_misses_and_doubles_nothing(namespace, redis, mock_keys, data):
    path = data / "bars" / "SPY_1min.csv"
    setting = f"replay:{path}?symbol=SPY&exchange=XNYS&speed=36000"  # 600 rows a second
    reader, rows = Reader(redis, mock_keys, "SPY", ALL), file_bars(path)

    def read(least):
        reader.read()
        return len(reader.seen["1min"]) >= least

    for least in (150, 700):
        with feed(setting, namespace) as process:
            eventually(lambda least=least: read(least), 60)
            kill(process)
    with feed(setting, namespace):
        eventually(lambda: read(len(rows)), 60)
    assert [bar[:6] for bar in reader.seen["1min"]] == [row[:6] for row in rows]
    for timeframe in ALL[1:]:
        same(reader.seen[timeframe], grouped("XNYS", rows, timeframe))


def test_an_external_feed_killed_in_the_middle_keeps_what_was_forming(namespace, redis, real_keys):
    Instrument.objects.create(symbol="AAA", exchange="24x7", kind="crypto", currency="USD")
    written, stop, peak = [], threading.Event(), threading.Event()

    def write_one():
        number = len(written) + 1
        fields = {"last": 500 if peak.is_set() else 100 + number % 50, "volume": number, "ts": now_ms()}
        redis.hset(real_keys.market("AAA"), mapping=fields)
        redis.publish(real_keys.price_updates, "AAA")
        written.append(fields)

    def write():
        while not stop.wait(0.02):
            write_one()

    def shown():
        """Volume in all bars of the smallest timeframe."""
        part = forming(redis, real_keys, "AAA", "1min")
        return sum(bar.volume for bar in hot(redis, real_keys, "AAA", "1min")) + (
            part[0].volume if part else 0
        )

    writer = threading.Thread(target=write)
    with feed("external", namespace) as process:
        eventually(lambda: marked(redis, real_keys), 60)
        write_one()
        eventually(lambda: shown() == 1, 60)
        writer.start()
        eventually(lambda: shown() > 20, 60)
        peak.set()
        eventually(lambda: forming(redis, real_keys, "AAA", "1d")[0].high == 500, 60)
        peak.clear()
        kill(process)
    before = shown()
    with feed("external", namespace):
        eventually(lambda: shown() > before + 200, 60)
        stop.set()
        writer.join()
        eventually(lambda: shown() == written[-1]["volume"], 60)  # nothing twice, nothing lost
    for timeframe in ("5min", "1h", "1d"):
        part = forming(redis, real_keys, "AAA", timeframe)
        whole = [*hot(redis, real_keys, "AAA", timeframe), *([part[0]] if part else [])]
        assert sum(bar.volume for bar in whole) == written[-1]["volume"]
        assert whole[0].open == written[0]["last"]
        assert max(bar.high for bar in whole) == 500


def test_it_stops_within_two_seconds_and_the_next_one_starts_at_once(namespace, redis, mock_keys):
    def stop():
        with feed(SIMULATED, namespace, **FEW_BARS) as process:
            eventually(lambda: redis.exists(mock_keys.lease("feed", 0)) and marked(redis, mock_keys), 60)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            took = time.monotonic() - began
        assert not redis.exists(mock_keys.lease("feed", 0))
        return took

    takes_less(2, stop)


def test_two_feeds_never_write_together(namespace, redis, mock_keys):
    with feed(SIMULATED, namespace, **FEW_BARS) as first:
        eventually(lambda: marked(redis, mock_keys), 60)
        holder = redis.get(mock_keys.lease("feed", 0)).split(b"|")[0]
        with feed(SIMULATED, namespace, **FEW_BARS):
            eventually(lambda: redis.zcard(mock_keys.workers("feed")) == 2, 60)
            for _ in range(20):
                assert redis.get(mock_keys.lease("feed", 0)).split(b"|")[0] == holder
                time.sleep(0.02)
            kill(first)
            eventually(lambda: (redis.get(mock_keys.lease("feed", 0)) or holder).split(b"|")[0] != holder, 60)
            began = now_ms()
            eventually(lambda: int(market(redis, mock_keys, "NIFTY50")["ts"]) > began, 60)


def test_once_fills_the_past_and_ends(namespace, redis, mock_keys):
    with feed(SIMULATED, namespace, arguments=("--once",), **FEW_BARS) as run:
        assert run.wait(60) == 0
    assert len(hot(redis, mock_keys, "NIFTY50", "4h")) == 120


def test_a_redis_that_dies_and_comes_back_empty_is_filled_again(namespace, tmp_path):
    import redis as redis_py

    from stocksblitz.redis.keys import Keys

    socket = tmp_path / "own.sock"
    keys, client = Keys(f"{namespace}mock:"), redis_py.Redis(unix_socket_path=str(socket))

    def serve():
        command = [
            redis_server(),
            "--port",
            "0",
            "--unixsocket",
            str(socket),
            "--save",
            "",
            "--dir",
            str(tmp_path),
        ]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def filled():
        try:
            return client.zcard(keys.bars("BTCUSD", "1d")) == 120 and marked(client, keys)
        except redis_py.RedisError:
            return False

    server = serve()
    try:
        with feed(SIMULATED, namespace, REDIS_URL=f"unix://{socket}", **FEW_BARS) as process:
            eventually(filled, 60)
            server.kill()
            server.wait(5)
            server = serve()
            eventually(filled, 60)
            began = now_ms()
            eventually(lambda: int(market(client, keys, "NIFTY50").get("ts", 0)) > began, 60)
            assert len(hot(client, keys, "NIFTY50", "1h")) == 120
            assert process.poll() is None
    finally:
        server.kill()
        server.wait(5)
