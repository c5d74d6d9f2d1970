"""In whatever order things happen, counts, computations and rows agree with a plain model."""

import threading
import time
import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from indicators.engine.spec import parse, parse_request
from indicators.models import Subscription
from indicators.subscriptions import service as subscriptions
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.runtime import now_ms

pytestmark = pytest.mark.django_db(transaction=True)

IDS = ("RSI_14", "RSI_14_100", "EMA_9")
users = st.integers(0, 1)
tabs = st.integers(0, 2)
symbols = st.sampled_from(["BTCUSD", "ETHUSD"])
timeframes = st.sampled_from(["1min", "5min"])
chosen = st.lists(st.sampled_from(IDS), max_size=3, unique=True)


class Machine(RuleBasedStateMachine):
    """The model: per session, what it asked for under which ids."""

    people: tuple[int, int]

    @initialize()
    def begin(self):
        self.tabs = [str(uuid.uuid4()) for _ in range(3)]
        self.model: dict[tuple[int, str], set[tuple[str, str, str]]] = {}
        for user_id in self.people:
            subscriptions.end_user_sync(user_id)

    def who(self, user, tab):
        return {"user_id": self.people[user], "session_id": self.tabs[tab]}

    def have(self, user, tab):
        return self.model.setdefault((self.people[user], self.tabs[tab]), set())

    def sharing(self, symbol, timeframe, canonical):
        return sum(
            any((s, t, meant(i)) == (symbol, timeframe, canonical) for s, t, i in asked)
            for asked in self.model.values()
        )

    @rule(user=users, tab=tabs, symbol=symbols, timeframe=timeframes, ids=chosen)
    def subscribe(self, user, tab, symbol, timeframe, ids):
        before = {each: self.sharing(symbol, timeframe, meant(each)) for each in ids}
        result = subscriptions.subscribe_sync(
            **self.who(user, tab), symbol=symbol, timeframe=timeframe, specs=parse_request(ids)
        )
        self.have(user, tab).update((symbol, timeframe, each) for each in ids or [""])
        assert set(result.indicators) == {
            i for s, t, i in self.have(user, tab) if (s, t) == (symbol, timeframe) and i
        }
        for each in result.results:
            assert each["new"] == (before[each["indicator"]] == 0)
            assert each["ref_count"] == self.sharing(symbol, timeframe, meant(each["indicator"]))

    @rule(
        user=users,
        tab=tabs,
        symbol=symbols | st.none(),
        timeframe=timeframes | st.none(),
        ids=chosen | st.none(),
    )
    def unsubscribe(self, user, tab, symbol, timeframe, ids):
        result = subscriptions.unsubscribe_sync(
            **self.who(user, tab), symbol=symbol, timeframe=timeframe, indicators=ids
        )
        have = self.have(user, tab)
        have -= {
            (s, t, i)
            for s, t, i in have
            if symbol in (None, s) and timeframe in (None, t) and (ids is None or i in ids)
        }
        for each in result.results:
            count = self.sharing(each["symbol"], each["timeframe"], meant(each["indicator"]))
            assert (each["last"], each["ref_count"]) == (count == 0, count)

    @rule(user=users, tab=tabs, symbol=symbols, timeframe=timeframes, indicator=st.sampled_from(IDS))
    def heartbeat(self, user, tab, symbol, timeframe, indicator):
        alive = subscriptions.heartbeat_sync(**self.who(user, tab), entries=[(symbol, timeframe, indicator)])
        canonical = {(s, t, meant(i)) for s, t, i in self.have(user, tab)}
        assert alive == [(symbol, timeframe, meant(indicator)) in canonical]

    @rule(user=users, tab=tabs, indicator=st.sampled_from(IDS), symbol=symbols, timeframe=timeframes)
    def expire(self, user, tab, indicator, symbol, timeframe):
        """One subscription of a session expires, and a clean-up runs."""
        name = current_keys().subscribers(symbol, timeframe, meant(indicator))
        member = f"{self.people[user]}:{self.tabs[tab]}"
        sync_client().zadd(name, {member: 1}, xx=True)
        subscriptions.purge_sync()
        have = self.have(user, tab)
        have -= {(s, t, i) for s, t, i in have if (s, t, meant(i)) == (symbol, timeframe, meant(indicator))}

    @rule(user=users, tab=tabs)
    def end(self, user, tab):
        subscriptions.end_session_sync(**self.who(user, tab))
        self.have(user, tab).clear()

    @rule(user=users)
    def logout(self, user):
        subscriptions.end_user_sync(self.people[user])
        for (user_id, _), asked in self.model.items():
            if user_id == self.people[user]:
                asked.clear()

    @rule()
    def lose_redis(self):
        for name in sync_client().scan_iter(f"{current_keys().prefix}*"):
            sync_client().delete(name)
        subscriptions.rebuild_sync()

    @rule()
    def reconcile(self):
        subscriptions.cleanup_sync()

    @precondition(lambda self: hasattr(self, "model"))
    @invariant()
    def everything_agrees(self):
        rows = {
            (user_id, str(session_id), s, t, i)
            for user_id, session_id, s, t, i in Subscription.objects.filter(
                session__user_id__in=self.people
            ).values_list("session__user_id", "session__session_id", "symbol", "timeframe", "indicator")
        }
        assert rows == {(*who, *what) for who, asked in self.model.items() for what in asked}
        expected: dict[str, set[str]] = {}
        for (user_id, session_id), asked in self.model.items():
            for s, t, i in asked:
                expected.setdefault(f"{s}|{t}|{meant(i)}", set()).add(f"{user_id}:{session_id}")
        assert counted() == expected


def meant(indicator):
    return parse(indicator).id if indicator else "-"


def counted():
    """Return who shares each computation, as Redis says."""
    redis, found = sync_client(), {}
    for each in redis.smembers(current_keys().wanted):
        name = current_keys().subscribers(*each.decode().split("|"))
        found[each.decode()] = {
            member.decode() for member in redis.zrangebyscore(name, f"({now_ms()}", "+inf")
        }
    prefix = current_keys().subscribers("", "", "").rstrip(":")
    assert sum(1 for _ in redis.scan_iter(f"{prefix}*")) == len(found)
    return found


def test_counts_computations_and_rows_agree_at_every_step(alice, bob, market):
    Machine.people = (alice.pk, bob.pk)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_64_clients_leave_nothing_behind(alice, bob, market):
    """Every client does all that a client may do, at once with the others, for a while; then all of them go."""
    stop, failures = time.monotonic() + 3, []

    def client(number):
        user = (alice, bob)[number % 2]
        who = {"user_id": user.pk, "session_id": str(uuid.uuid4())}
        pair = {"symbol": ("BTCUSD", "ETHUSD")[number % 2], "timeframe": "1min"}
        try:
            while time.monotonic() < stop:
                subscriptions.subscribe_sync(**who, **pair, specs=parse_request(IDS[number % 3 :]))
                subscriptions.heartbeat_sync(**who, entries=[(*pair.values(), "EMA_9")])
                if number % 4 == 0:
                    subscriptions.end_session_sync(**who)
                elif number % 4 == 1:
                    subscriptions.unsubscribe_sync(**who, **pair, indicators=["EMA_9"])
                elif number == 2:
                    subscriptions.cleanup_sync()
            subscriptions.unsubscribe_sync(**who)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counted() == {}
    assert not Subscription.objects.exists()
