"""Reads what a feed wrote, as the computing side does."""

import csv
from datetime import datetime

import orjson

from stocksblitz.market.calendars import sessions as calendars
from stocksblitz.market.core.bars import TIMEFRAMES, Bar
from tests.market.exchange_times import bar_open


def hot(redis, keys, symbol, timeframe):
    """The closed bars of a stream, and that each stands at its own time."""
    found = redis.zrange(keys.bars(symbol, timeframe), 0, -1, withscores=True)
    bars = [Bar(*orjson.loads(raw)) for raw, _ in found]
    assert [bar.ts for bar in bars] == [int(score) for _, score in found]
    return bars


def market(redis, keys, symbol):
    return {name.decode(): value.decode() for name, value in redis.hgetall(keys.market(symbol)).items()}


def forming(redis, keys, symbol, timeframe):
    """The forming bar and the time of the one before it; None when none forms."""
    raw = redis.hget(keys.market(symbol), f"bar:{timeframe}")
    if not raw:
        return None
    *bar, before = orjson.loads(raw)
    return Bar(*bar), before


def file_bars(path):
    """The rows of a file, read the plain way."""
    with path.open() as file:
        return [
            Bar(
                round(datetime.fromisoformat(row["ts"]).timestamp() * 1000),
                *(float(row[name]) for name in ("open", "high", "low", "close")),
                float(row["volume"] or 0),
            )
            for row in csv.DictReader(file)
        ]


def grouped(exchange, rows, timeframe):
    """Larger bars from rows, grouped the plain way."""
    groups = {}
    for row in rows:
        groups.setdefault(bar_open(exchange, timeframe, row.ts), []).append(row)
    return [
        Bar(
            start,
            group[0].open,
            max(row.high for row in group),
            min(row.low for row in group),
            group[-1].close,
            sum(row.volume for row in group),
            calendars.session_at(exchange, group[0].ts).open,
        )
        for start, group in groups.items()
    ]


def same(found, expected):
    """Exactly the same prices and times; volumes up to the order of their addition."""
    assert [bar[:5] + bar[6:] for bar in found] == [bar[:5] + bar[6:] for bar in expected]
    for one, other in zip(found, expected, strict=True):
        assert abs(one.volume - other.volume) <= 1e-9 * max(1.0, other.volume)


class Reader:
    """Follows streams as compute does: closed bars after the last one seen, and says where it is."""

    def __init__(self, redis, keys, symbol, timeframes):
        self.redis, self.keys, self.symbol = redis, keys, symbol
        self.seen = {timeframe: [] for timeframe in timeframes}
        redis.sadd(keys.wanted, *(f"{symbol}|{timeframe}|-" for timeframe in timeframes))

    def read(self):
        """Take what is new; returns how much it was."""
        count = 0
        for timeframe, seen in self.seen.items():
            after = seen[-1].ts if seen else -1
            new = self.redis.zrangebyscore(self.keys.bars(self.symbol, timeframe), f"({after}", "+inf")
            seen += [Bar(*orjson.loads(raw)) for raw in new]
            if new:
                self.redis.hset(self.keys.positions, f"{self.symbol}|{timeframe}", seen[-1].ts)
            count += len(new)
        return count


ALL = tuple(TIMEFRAMES)
