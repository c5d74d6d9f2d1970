"""Sockets are counted per user over all web processes, and only those of processes that are alive."""

import pytest

from stocksblitz.delivery import limits
from stocksblitz.delivery.limits import SocketCounts, open_sockets

USER = 7


@pytest.fixture
async def processes(aredis, settings):
    settings.WS_MAX_SOCKETS = 2
    first, second = SocketCounts(aredis, "first"), SocketCounts(aredis, "second")
    for process in (first, second):
        assert await process.beat() is False
    return first, second


@pytest.fixture
def clock(monkeypatch):
    """Set the wall clock of the module by `clock.now`."""

    class Clock:
        now = 1_000_000_000_000

    monkeypatch.setattr(limits, "now_ms", lambda: Clock.now)
    return Clock


async def test_all_processes_together_hold_as_many_as_are_allowed(processes):
    first, second = processes
    assert await first.claim(USER, "a")
    assert await second.claim(USER, "b")
    assert not await first.claim(USER, "c")
    assert await first.claim(USER, "a")  # a socket that is counted already
    assert await first.claim(USER + 1, "d")
    await second.release(USER, "b")
    assert await first.claim(USER, "c")


async def test_a_socket_that_replaces_another_takes_its_place(processes):
    first, second = processes
    assert await first.claim(USER, "a")
    assert await first.claim(USER, "b")
    assert await second.claim(USER, "c", replaces="a")
    assert not await second.claim(USER, "d")


async def test_sockets_of_a_killed_process_count_no_more_within_fifteen_seconds(clock, processes, redis):
    first, second = processes
    assert await first.claim(USER, "a")
    assert await first.claim(USER, "b")
    assert open_sockets(redis, [USER]) == {"a", "b"}
    clock.now += 5_000
    await second.beat()
    assert not await second.claim(USER, "c")
    clock.now += 9_000
    await second.beat()
    assert await second.claim(USER, "c")
    assert await second.claim(USER, "d")
    assert not await second.claim(USER, "e")
    assert open_sockets(redis, [USER]) == {"c", "d"}


async def test_a_process_learns_that_redis_lost_the_counts(processes, aredis, keys):
    first, _ = processes
    assert await first.claim(USER, "a")
    await aredis.delete(*[key async for key in aredis.scan_iter(f"{keys.prefix}*")])
    assert await first.beat() is True
    await first.renew([(USER, "a"), (USER, "b")])
    assert not await first.claim(USER, "c")
    assert await first.beat() is False
