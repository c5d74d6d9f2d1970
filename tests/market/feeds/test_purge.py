"""What simulated and replayed data leave behind, and what takes it away."""

import pytest
from django.core.management import call_command

from stocksblitz.market.feeds.runner import FeedProcess
from stocksblitz.market.store.purge import purge

MARKET_DATA = (
    "market:AAA",
    "sb:bars:AAA:1min",
    "indicator:AAA:1min:RSI_14:latest",
    "sb:{AAA:1min}:log",
    "sb:positions",
)
SESSIONS = ("sb:wanted", "indicator_sub:AAA:1min:RSI_14", "sb:session:1:x", "symbol_holders:AAA:demo")


def fill(redis, prefix):
    for name in (*MARKET_DATA, *SESSIONS):
        redis.set(prefix + name, 1)


async def test_market_data_of_the_mock_realm_goes_and_everything_else_stays(
    aredis, redis, mock_keys, namespace
):
    fill(redis, mock_keys.prefix)
    fill(redis, namespace)
    assert await purge(aredis, mock_keys) == len(MARKET_DATA)
    left = {name.decode().removeprefix(namespace) for name in redis.scan_iter(match=f"{namespace}*")}
    assert left == {*MARKET_DATA, *SESSIONS, *(f"mock:{name}" for name in SESSIONS)}


async def test_the_real_realm_is_never_purged(aredis, redis, real_keys):
    fill(redis, real_keys.prefix)
    with pytest.raises(ValueError, match="only the mock realm"):
        await purge(aredis, real_keys)
    assert redis.exists(real_keys.market("AAA"))


def test_the_command_says_how_much_it_removed(redis, mock_keys, capsys):
    fill(redis, mock_keys.prefix)
    call_command("purge_mock")
    assert capsys.readouterr().out == f"{len(MARKET_DATA)} keys of the mock realm removed\n"
    assert not redis.exists(mock_keys.market("AAA"))


@pytest.mark.django_db(transaction=True)
async def test_another_feed_begins_without_the_data_of_the_one_before(redis, mock_keys, settings):
    settings.HOT_BARS = 50
    from stocksblitz.market.feeds.spec import FeedSpec

    fill(redis, mock_keys.prefix)
    runner = FeedProcess(FeedSpec.parse("simulated?symbols=BTCUSD"), once=True)
    await runner.run()
    assert not redis.exists(mock_keys.market("AAA"))
    assert redis.zcard(mock_keys.bars("BTCUSD", "1h")) == 50
    assert redis.exists(mock_keys.wanted)
