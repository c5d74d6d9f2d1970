"""History that reaches back beyond the hot store: the worker has the older bars from the database."""

import random
from dataclasses import replace

import orjson
import pytest
from channels.db import database_sync_to_async

from indicators.engine.spec import parse
from indicators.engine.stream import series
from indicators.reads.cache import current_job
from indicators.reads.compute import OneShot
from stocksblitz.market import models
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.feeds.spec import FeedSpec

pytestmark = pytest.mark.django_db(transaction=True)

HOT, ALL, BEGIN = 100, 600, 1_750_000_000_000 // 86_400_000 * 86_400_000


def past():
    rng, price = random.Random(3), 100.0
    for n in range(ALL):
        ts, last = BEGIN + n * 60_000, price
        price += rng.random() - 0.5
        yield Bar(ts, last, max(last, price), min(last, price), price, 10.0 + n % 7, ts - ts % 86_400_000)


def row(bar):
    return dict(zip(("ts", "open", "high", "low", "close", "volume", "session"), bar, strict=True))


@pytest.mark.parametrize("indicator", ["SMA_20", "EMA_9", "RSI_14", "OBV", "VWAP"])
async def test_old_bars_have_values_as_new_ones_do(settings, aredis, keys, indicator):
    settings.FEED = FeedSpec.parse("external")
    from stocksblitz.redis.client import current_keys as names

    bars = list(past())
    rows = [models.Bar(symbol="BTCUSD", timeframe="1min", **row(bar)) for bar in bars]
    await database_sync_to_async(models.Bar.objects.bulk_create)(rows)
    await aredis.zadd(
        names().bars("BTCUSD", "1min"), {orjson.dumps(list(bar)): bar.ts for bar in bars[-HOT:]}
    )
    spec, oneshot = parse(indicator), OneShot(aredis, names())
    job = replace(
        current_job("BTCUSD", "1min", spec.id, 1), kind="history", limit=200, before=bars[-1].ts + 1
    )
    found = await oneshot.compute(job)
    assert found == pytest.approx(series(spec, bars[-200 - spec.history :], 200), rel=1e-12, nan_ok=True)
    assert None not in found
    older = await oneshot.compute(replace(job, limit=50, before=bars[300].ts))
    assert older == pytest.approx(series(spec, bars[max(0, 250 - spec.history) : 300], 50), rel=1e-12)
    settings.FEED = FeedSpec.parse("simulated")
