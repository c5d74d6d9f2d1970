"""Junk in what Redis holds of subscriptions is removed and counted again; what others change meanwhile is read again."""

import asyncio
import uuid

import pytest

from indicators.subscriptions import queries, reference_counts
from indicators.subscriptions import service as subscriptions
from stocksblitz.redis.scripts import run_scripts
from tests.indicators.subscriptions.test_subscriptions import add, now, subscribers, wanted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("spoil", ["string", "list", "hash", "members"])
def test_junk_in_a_set_of_subscribers_costs_only_itself(alice, bob, market, redis, keys, spoil):
    """Subscribing, expiry and repair go on, and who subscribed before is counted again."""
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    add(alice, one, "RSI_14", "EMA_9")
    name = keys.subscribers("BTCUSD", "1min", "RSI_14")
    if spoil == "members":
        redis.zadd(name, {b"": 10**13, b"\xff\xfe": 10**13, "live:1": 1, f"{alice.pk}:x": 10**13})
    else:
        redis.delete(name)
        {"string": redis.set, "list": redis.rpush, "hash": lambda n, v: redis.hset(n, v, v)}[spoil](
            name, "junk"
        )
    subscriptions.active_sync()
    queries.shared_counts()
    add(bob, two, "RSI_14")
    asyncio.run(subscriptions.touch([(alice.pk, one)]))
    subscriptions.cleanup_sync()
    both = {f"{alice.pk}:{one}", f"{bob.pk}:{two}"}
    assert subscribers(redis, keys, "RSI_14") == both
    assert subscribers(redis, keys, "EMA_9") == {f"{alice.pk}:{one}"}
    assert [count for _, count in queries.shared_counts()] == [1, 2]
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14", "BTCUSD|1min|EMA_9"}


def test_junk_among_the_subscribed_computations_costs_only_itself(alice, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14")
    redis.sadd(keys.wanted, "", b"\xff", "BTCUSD", "BTCUSD|9min|RSI_14")
    assert subscriptions.cleanup_sync() == 0
    assert [found["indicator_id"] for found in subscriptions.active_sync()] == ["RSI_14"]


def test_a_session_that_another_process_changes_meanwhile_is_read_again(
    alice, market, session_id, redis, keys
):
    """The script refuses a session with a computation that it was not given the key of."""
    add(alice, session_id, "RSI_14")
    name = f"{alice.pk}:{session_id}"
    command = reference_counts.touch(name, now())
    call = command.call(keys, known=[])
    assert run_scripts(redis, [call]) == [reference_counts.CHANGED]
    assert reference_counts.run(redis, keys, [command]) == [1]


def test_many_changes_of_one_session_in_one_group_are_done_in_order(alice, market, session_id, redis, keys):
    name = f"{alice.pk}:{session_id}"
    sets = [{"BTCUSD|1min|RSI_14"}, {"BTCUSD|1min|EMA_9"}, set(), {"BTCUSD|1min|SMA_5"}]
    commands = [
        reference_counts.apply(reference_counts.State(name, version, frozenset(names), tuple(names)), now())
        for version, names in enumerate(sets, 1)
    ]
    answers = reference_counts.run(redis, keys, commands)
    assert answers == [[0, 1], [0, 1], [], [0, 1]]
    assert wanted(redis, keys) == {"BTCUSD|1min|SMA_5"}
