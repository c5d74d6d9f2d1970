"""From a published symbol to dirty accounts, each once, none lost."""

import asyncio

import pytest

from portfolio.worker.price_listener import PortfolioCalculatorListener
from tests.conftest import PATIENCE_S, aeventually


@pytest.fixture
async def listener(aredis, keys):
    made = PortfolioCalculatorListener(aredis, keys, ("live", "demo"), bound=1000)
    await made.start_listener()
    yield made
    await made.stop_listener()


async def hold(aredis, keys, symbol, *accounts):
    for account in accounts:
        await aredis.sadd(keys.holders(symbol, account.partition(":")[0]), account)


async def test_a_price_makes_its_holders_dirty_once(listener, aredis, keys):
    await hold(aredis, keys, "EURUSD", "live:1001", "live:1002", "demo:2001")
    await hold(aredis, keys, "GBPUSD", "live:1001", "live:1004")
    for symbol in ("EURUSD", "GBPUSD", "EURUSD"):
        await aredis.publish(keys.price_updates, symbol)
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:1001", "live:1002", "live:1004"})
    assert listener.get_dirty_users("demo") == {"demo:2001"}
    stats = listener.get_statistics()
    assert (stats["symbols_processed"], stats["users_affected_total"]) == (3, 4)
    assert (stats["dirty_users_live"], stats["dirty_users_demo"], stats["is_running"]) == (3, 1, True)


async def test_taking_is_atomic_and_what_comes_later_is_in_the_next_round(listener, aredis, keys):
    await hold(aredis, keys, "EURUSD", "live:1", "demo:1")
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: listener.get_dirty_users("live"))
    assert listener.get_and_clear_dirty_users("live") == {"live:1"}
    assert listener.get_and_clear_dirty_users("live") == set()
    # Another tick before the other type is taken must not be lost to the first.
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:1"})
    assert listener.get_and_clear_dirty_users("demo") == {"demo:1"}


async def test_no_update_is_lost_while_rounds_are_taken(listener, aredis, keys):
    symbols = [f"S{i}" for i in range(50)]
    for i, symbol in enumerate(symbols):
        await hold(aredis, keys, symbol, f"live:{i}")
    seen: set[str] = set()

    async def taker():
        while len(seen) < 50:
            seen.update(listener.get_and_clear_dirty_users("live"))
            await asyncio.sleep(0)

    task = asyncio.create_task(taker())
    for symbol in symbols:
        await aredis.publish(keys.price_updates, symbol)
        await asyncio.sleep(0.001)  # pace of the prices
    await asyncio.wait_for(task, PATIENCE_S)


async def test_holders_that_outsiders_add_are_honoured(listener, aredis, keys):
    await hold(aredis, keys, "EURUSD", "live:1")
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: listener.get_and_clear_dirty_users("live"))
    await hold(aredis, keys, "EURUSD", "live:2")

    async def ticked():
        await aredis.publish(keys.price_updates, "EURUSD")
        return "live:2" in listener.get_dirty_users("live")

    await aeventually(ticked)
    await aredis.srem(keys.holders("EURUSD", "live"), "live:1")
    listener.get_and_clear_dirty_users("live")

    async def only_the_second():
        listener.get_and_clear_dirty_users("live")
        await aredis.publish(keys.price_updates, "EURUSD")
        await asyncio.sleep(0.05)  # polling: the listener hears of it meanwhile, or of the next
        return listener.get_dirty_users("live") == {"live:2"}

    await aeventually(only_the_second)


async def test_a_bad_symbol_or_a_failing_lookup_stops_nothing(listener, aredis, keys):
    await aredis.set(keys.holders("BROKEN", "live"), "not a set")
    await hold(aredis, keys, "GOOD", "live:1")
    for symbol in ("eur*", "BROKEN", b"\xff\xfe", "A" * 500, "X\nY", "GOOD"):
        await aredis.publish(keys.price_updates, symbol)
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:1"})
    assert listener.get_statistics()["errors"] >= 5


async def test_at_the_bound_the_list_is_given_up_and_everything_is_dirty(aredis, keys):
    listener = PortfolioCalculatorListener(aredis, keys, ("live",), bound=10)
    await listener.start_listener()
    await aredis.sadd(keys.holders("BIG", "live"), *[f"live:{i}" for i in range(50)])
    await aredis.publish(keys.price_updates, "BIG")
    await aeventually(lambda: listener.get_statistics()["overflows"])
    assert listener.get_dirty_users("live") == set()
    assert listener.take_overflow("live")
    assert not listener.take_overflow("live")
    await listener.stop_listener()


async def test_further_user_types_are_only_named(aredis, keys):
    listener = PortfolioCalculatorListener(aredis, keys, ("live", "demo", "contest"), bound=10)
    await listener.start_listener()
    await hold(aredis, keys, "EURUSD", "contest:7")
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: listener.get_dirty_users("contest") == {"contest:7"})
    await listener.stop_listener()


async def test_only_accounts_of_this_process_are_collected(aredis, keys):
    listener = PortfolioCalculatorListener(
        aredis, keys, ("live",), bound=10, mine=lambda key: key.endswith("1")
    )
    await listener.start_listener()
    await hold(aredis, keys, "EURUSD", "live:1", "live:2")
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:1"})
    await listener.stop_listener()


async def test_after_a_lost_connection_everything_held_is_dirty(listener, aredis, keys):
    await hold(aredis, keys, "EURUSD", "live:1")
    await hold(aredis, keys, "GBPUSD", "live:2")
    await aredis.publish(keys.price_updates, "EURUSD")
    await aeventually(lambda: "live:1" in listener.get_dirty_users("live"))
    listener.get_and_clear_dirty_users("live")
    await aredis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:1", "live:2"})
    assert listener.get_statistics()["reconnects"] >= 1
    listener.get_and_clear_dirty_users("live")
    await aredis.publish(keys.price_updates, "GBPUSD")
    await aeventually(lambda: listener.get_dirty_users("live") == {"live:2"})
