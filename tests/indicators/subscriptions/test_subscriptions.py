import asyncio
import uuid

import orjson
import pytest

from indicators.engine.spec import parse_request
from indicators.models import Session, Subscription
from indicators.subscriptions import maintenance, reference_counts
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from tests.conftest import PATIENCE_S, aeventually

pytestmark = pytest.mark.django_db(transaction=True)


def specs(*ids):
    return parse_request(list(ids))


def add(user, session_id, *ids, symbol="BTCUSD", timeframe="1min"):
    return subscriptions.subscribe_sync(
        user_id=user.pk, session_id=session_id, symbol=symbol, timeframe=timeframe, specs=specs(*ids)
    )


def drop(user, session_id, **which):
    return subscriptions.unsubscribe_sync(user_id=user.pk, session_id=session_id, **which)


def wanted(redis, keys):
    return {each.decode() for each in redis.smembers(keys.wanted)}


def subscribers(redis, keys, indicator, symbol="BTCUSD", timeframe="1min"):
    return {m.decode() for m in redis.zrange(keys.subscribers(symbol, timeframe, indicator), 0, -1)}


def test_the_first_and_the_last_subscriber_are_reported(alice, bob, market, redis, keys):
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    assert add(alice, one, "RSI_14").results == [{"indicator": "RSI_14", "new": True, "ref_count": 1}]
    assert add(bob, two, "RSI_14").results == [{"indicator": "RSI_14", "new": False, "ref_count": 2}]
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}
    gone = drop(alice, one, symbol="BTCUSD", timeframe="1min")
    assert [(r["last"], r["ref_count"]) for r in gone.results] == [(False, 1)]
    gone = drop(bob, two, symbol="BTCUSD", timeframe="1min")
    assert [(r["last"], r["ref_count"]) for r in gone.results] == [(True, 0)]
    assert wanted(redis, keys) == set()
    assert not Subscription.objects.exists()


def test_subscribing_twice_counts_once(alice, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14")
    again = add(alice, session_id, "RSI_14", "EMA_9")
    assert again.indicators == ["RSI_14", "EMA_9"]
    assert again.results[0] == {"indicator": "RSI_14", "new": False, "ref_count": 1}
    assert subscribers(redis, keys, "RSI_14") == {f"{alice.pk}:{session_id}"}


def test_ids_that_mean_the_same_are_one_computation_until_the_last_is_left(
    alice, market, session_id, redis, keys
):
    result = add(alice, session_id, "RSI_14", "RSI_14_100")
    assert result.ids == {"RSI_14": "RSI_14", "RSI_14_100": "RSI_14"}
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}
    left = drop(alice, session_id, symbol="BTCUSD", timeframe="1min", indicators=["RSI_14"])
    assert left.results[0]["last"] is False
    assert left.ids("BTCUSD", "1min") == {"RSI_14_100": "RSI_14"}
    drop(alice, session_id, symbol="BTCUSD", timeframe="1min", indicators=["RSI_14_100"])
    assert wanted(redis, keys) == set()


def test_bars_alone(alice, market, session_id, redis, keys):
    assert add(alice, session_id).indicators == []
    assert wanted(redis, keys) == {"BTCUSD|1min|-"}
    drop(alice, session_id)
    assert wanted(redis, keys) == set()


def test_unsubscribe_level_by_level(alice, market, session_id, redis, keys):
    for symbol, timeframe in (("BTCUSD", "1min"), ("BTCUSD", "5min"), ("ETHUSD", "1min")):
        add(alice, session_id, "RSI_14", "EMA_9", symbol=symbol, timeframe=timeframe)
    drop(alice, session_id, symbol="BTCUSD", timeframe="1min", indicators=["EMA_9", "NOT_THERE", "EMA_9"])
    assert len(wanted(redis, keys)) == 5
    drop(alice, session_id, symbol="BTCUSD")
    assert wanted(redis, keys) == {"ETHUSD|1min|RSI_14", "ETHUSD|1min|EMA_9"}
    assert drop(alice, session_id).left == {}
    assert drop(alice, session_id).results == []


def test_another_users_session_is_not_there(alice, bob, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14")
    drop(bob, session_id)
    assert subscriptions.end_session_sync(user_id=bob.pk, session_id=session_id) is False
    add(bob, session_id, "RSI_14")
    assert subscribers(redis, keys, "RSI_14") == {f"{alice.pk}:{session_id}", f"{bob.pk}:{session_id}"}
    assert subscriptions.listing_sync(user_id=bob.pk, session_id=session_id)[0]["indicators"] == ["RSI_14"]
    drop(bob, session_id)
    assert subscribers(redis, keys, "RSI_14") == {f"{alice.pk}:{session_id}"}


def test_refused_requests_store_nothing(alice, market, session_id, settings, redis, keys):
    settings.WS_MAX_INDICATORS, settings.WS_MAX_STREAMS = 2, 1
    for wrong in ({"symbol": "NOPE"}, {"ids": ("RSI_14", "EMA_9", "SMA_20")}):
        with pytest.raises(StocksBlitzError):
            add(alice, session_id, *wrong.pop("ids", ["RSI_14"]), **wrong)
    assert not Session.objects.exists()
    add(alice, session_id, "RSI_14")
    with pytest.raises(StocksBlitzError) as refused:
        add(alice, session_id, "RSI_14", symbol="ETHUSD")
    assert refused.value.code == "limit_exceeded"
    with pytest.raises(StocksBlitzError):
        add(alice, session_id, "EMA_9", "SMA_20")
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}
    assert Subscription.objects.count() == 1


async def test_guard_refuses_before_anything_is_written(alice, market, session_id, redis, keys):
    await subscriptions.open_session(user_id=alice.pk, session_id=session_id)

    def guard(ids):
        raise StocksBlitzError("limit_exceeded", f"{len(ids)}")

    with pytest.raises(StocksBlitzError):
        await subscriptions.subscribe(
            user_id=alice.pk,
            session_id=session_id,
            symbol="BTCUSD",
            timeframe="1min",
            specs=specs("RSI_14"),
            guard=guard,
        )
    assert wanted(redis, keys) == set()


def test_heartbeat_renews_what_it_names(alice, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14", "EMA_9")
    for indicator in ("RSI_14", "EMA_9"):
        redis.zadd(keys.subscribers("BTCUSD", "1min", indicator), {f"{alice.pk}:{session_id}": 10**13})
    named = [("BTCUSD", "1min", "RSI_14_100"), ("BTCUSD", "1min", "SMA_20"), ("a|b", "1min", "RSI_14")]
    alive = subscriptions.heartbeat_sync(user_id=alice.pk, session_id=session_id, entries=named)
    assert alive == [True, False, False]
    score = redis.zscore(keys.subscribers("BTCUSD", "1min", "RSI_14"), f"{alice.pk}:{session_id}")
    assert score < 10**13
    assert redis.zscore(keys.subscribers("BTCUSD", "1min", "EMA_9"), f"{alice.pk}:{session_id}") == 10**13


def expire(redis, keys, user, session_id, *indicators):
    for indicator in indicators:
        redis.zadd(keys.subscribers("BTCUSD", "1min", indicator), {f"{user.pk}:{session_id}": 1})


def test_expired_subscriptions_are_removed_from_redis_and_the_database(
    alice, market, session_id, redis, keys
):
    add(alice, session_id, "RSI_14", "EMA_9")
    expire(redis, keys, alice, session_id, "RSI_14")
    beat = [("BTCUSD", "1min", "RSI_14")]
    assert subscriptions.heartbeat_sync(user_id=alice.pk, session_id=session_id, entries=beat) == [False]
    assert subscriptions.purge_sync() == 1
    assert wanted(redis, keys) == {"BTCUSD|1min|EMA_9"}
    assert list(Subscription.objects.values_list("indicator", flat=True)) == ["EMA_9"]
    assert add(alice, session_id, "RSI_14").results[0]["new"] is True


def test_a_purge_overtaken_by_a_subscribe_loses_nothing(alice, market, session_id, redis, keys):
    """The session changes between the expiry in Redis and the removal from the database."""
    from indicators.subscriptions.commands import Expire
    from indicators.subscriptions.unit_of_work import writer
    from stocksblitz.workers.runtime import now_ms

    add(alice, session_id, "RSI_14")
    expire(redis, keys, alice, session_id, "RSI_14")
    name = f"{alice.pk}:{session_id}"
    (answer,) = reference_counts.run(redis, keys, [reference_counts.expire(name, now_ms())])
    expired = reference_counts.expired(name, answer)
    assert [lost.computation for lost in expired] == ["BTCUSD|1min|RSI_14"]
    add(alice, session_id, "EMA_9")
    assert writer.call(Expire((alice.pk, session_id), expired)) is False
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14", "BTCUSD|1min|EMA_9"}
    assert Subscription.objects.count() == 2


def test_a_late_write_cannot_bring_an_ended_session_back(alice, market, session_id, redis, keys):
    from stocksblitz.workers.runtime import now_ms

    add(alice, session_id, "RSI_14")
    version = Session.objects.get().version
    subscriptions.end_session_sync(user_id=alice.pk, session_id=session_id)
    late = reference_counts.State(f"{alice.pk}:{session_id}", version, frozenset({"BTCUSD|1min|RSI_14"}))
    reference_counts.run(redis, keys, [reference_counts.apply(late, now_ms())])
    assert wanted(redis, keys) == set()
    add(alice, session_id, "RSI_14")
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}


async def test_an_ended_session_refuses_its_old_socket(alice, market, session_id, redis, keys):
    who = {"user_id": alice.pk, "session_id": session_id}
    await subscriptions.open_session(**who, ws_conn_id="a")
    await subscriptions.end_session(**who, ws_conn_id="a")
    with pytest.raises(StocksBlitzError) as refused:
        await subscriptions.subscribe(**who, symbol="BTCUSD", timeframe="1min", specs=specs("RSI_14"))
    assert refused.value.code == "session_ended"
    assert (await subscriptions.open_session(**who, ws_conn_id="b")).retained == []
    await subscriptions.subscribe(**who, symbol="BTCUSD", timeframe="1min", specs=specs("RSI_14"))
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}


async def test_what_an_old_socket_does_counts_no_more(alice, market, session_id, redis, keys):
    who = {"user_id": alice.pk, "session_id": session_id}
    await subscriptions.open_session(**who, ws_conn_id="a")
    await subscriptions.subscribe(**who, symbol="BTCUSD", timeframe="1min", specs=specs("RSI_14"))
    taken = await subscriptions.open_session(**who, ws_conn_id="b")
    assert taken.retained == [("BTCUSD", "1min", ["RSI_14"])]
    assert await subscriptions.end_session(**who, ws_conn_id="a") is False
    assert await subscriptions.release_session(**who, ws_conn_id="a", grace_s=0) is False
    score = redis.zscore(keys.subscribers("BTCUSD", "1min", "RSI_14"), f"{alice.pk}:{session_id}")
    assert await subscriptions.touch([(alice.pk, session_id), (alice.pk, str(uuid.uuid4()))]) == [True, False]
    assert redis.zscore(keys.subscribers("BTCUSD", "1min", "RSI_14"), f"{alice.pk}:{session_id}") >= score


async def test_a_dropped_socket_keeps_its_subscriptions_for_the_grace_alone(
    alice, market, session_id, redis, keys
):
    who = {"user_id": alice.pk, "session_id": session_id}
    await subscriptions.open_session(**who, ws_conn_id="a")
    await subscriptions.subscribe(**who, symbol="BTCUSD", timeframe="1min", specs=specs("RSI_14"))
    assert await subscriptions.release_session(**who, ws_conn_id="a", grace_s=30)
    assert (await subscriptions.open_session(**who, ws_conn_id="b")).retained
    await subscriptions.release_session(**who, ws_conn_id="b", grace_s=0.01)
    await aeventually(lambda: not redis.zcount(keys.subscribers("BTCUSD", "1min", "RSI_14"), now(), "+inf"))
    assert (await subscriptions.open_session(**who, ws_conn_id="c")).retained == []
    assert wanted(redis, keys) == set()
    assert await Subscription.objects.acount() == 0


def now():
    from stocksblitz.workers.runtime import now_ms

    return now_ms()


async def test_demand_is_announced_once(alice, bob, market, aredis, keys):
    pubsub = aredis.pubsub()
    await pubsub.subscribe(keys.demand)
    for user in (alice, bob):
        await subscriptions.open_session(user_id=user.pk, session_id=(sid := str(uuid.uuid4())))
        await subscriptions.subscribe(
            user_id=user.pk, session_id=sid, symbol="BTCUSD", timeframe="1min", specs=specs("RSI_14")
        )
    for user in (alice, bob):
        await asyncio.to_thread(subscriptions.end_user_sync, user.pk)
    await aredis.publish(keys.demand, b"null")  # the end
    said = []
    while said[-1:] != [None]:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_S)
        if message:
            said.append(orjson.loads(message["data"]))
    await pubsub.aclose()
    one = "BTCUSD|1min|RSI_14"
    assert said == [{"add": [one], "drop": []}, {"add": [], "drop": [one]}, None]


def test_a_flushed_redis_is_rebuilt(alice, bob, market, redis, keys):
    sid, ended = str(uuid.uuid4()), str(uuid.uuid4())
    add(alice, sid, "RSI_14", "RSI_14_100")
    add(bob, ended, "EMA_9")
    subscriptions.end_session_sync(user_id=bob.pk, session_id=ended)
    for name in redis.scan_iter(f"{keys.prefix}*"):
        redis.delete(name)
    assert asyncio.run(maintenance.ensure_rebuilt()) is True
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}
    assert subscribers(redis, keys, "RSI_14") == {f"{alice.pk}:{sid}"}
    assert asyncio.run(maintenance.ensure_rebuilt()) is False


def test_rebuild_removes_what_the_database_does_not_know(alice, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14")
    stray = reference_counts.State(f"{alice.pk}:{uuid.uuid4()}", 7, frozenset({"BTCUSD|1min|EMA_9"}))
    reference_counts.run(redis, keys, [reference_counts.apply(stray, now())])
    subscriptions.rebuild_sync()
    assert wanted(redis, keys) == {"BTCUSD|1min|RSI_14"}


def test_a_deleted_user_leaves_nothing(alice, market, session_id, redis, keys):
    add(alice, session_id, "RSI_14")
    alice.delete()
    assert wanted(redis, keys) == set()
    assert not Session.objects.exists()


def test_active_has_the_documented_shape(alice, market, session_id, settings):
    add(alice, session_id, "RSI_14")
    add(alice, session_id, "RSI_14", timeframe="5min")
    (found,) = subscriptions.active_sync("BTCUSD", "1min")
    assert found["ref_count"] == 1
    assert found["ttl"] == settings.SESSION_TTL
    assert found["created_at"] <= found["last_accessed"] <= now()
    (subscriber,) = found["subscribers"].values()
    assert set(subscriber) == {"last_active", "websocket_id"}
    assert len(subscriptions.active_sync()) == 2
    assert subscriptions.active_sync("ETHUSD") == []


def test_concurrent_requests_are_grouped(alice, market, django_assert_max_num_queries, redis, keys):
    """A thousand waiting requests are a handful of transactions."""
    from django.db import connection

    from indicators.subscriptions.commands import Subscribe
    from indicators.subscriptions.unit_of_work import commit, writer

    groups = []
    original, writer._commit = (
        writer._commit,
        lambda requests: groups.append(len(requests)) or commit(requests),
    )
    try:
        futures = [
            writer.submit(
                Subscribe((alice.pk, str(uuid.uuid4())), "BTCUSD", "1min", specs("RSI_14"), create=True)
            )
            for _ in range(1000)
        ]
        counts = [future.result(30).results[0]["ref_count"] for future in futures]
    finally:
        writer._commit = original
    assert sorted(counts) == list(range(1, 1001))
    assert sum(groups) == 1000
    assert len(groups) < 30
    assert Subscription.objects.count() == 1000
    assert connection.in_atomic_block is False


def test_one_that_spoils_the_group_fails_alone(alice, market, session_id, redis, keys):
    from indicators.subscriptions.commands import Subscribe
    from indicators.subscriptions.unit_of_work import commit, writer

    good = Subscribe((alice.pk, session_id), "BTCUSD", "1min", specs("RSI_14"), create=True)
    bad = Subscribe((999_999, str(uuid.uuid4())), "BTCUSD", "1min", specs("RSI_14"), create=True)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        commit([good, bad])
    futures = [writer.submit(bad), writer.submit(good)]
    assert futures[1].result(30).results[0]["ref_count"] == 1
    with pytest.raises(StocksBlitzError):
        futures[0].result(30)
    assert subscribers(redis, keys, "RSI_14") == {f"{alice.pk}:{session_id}"}
