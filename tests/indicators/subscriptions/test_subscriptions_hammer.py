"""Many clients at once, in threads, for a while (``HAMMER_SECONDS``): nothing is leaked, Redis and database agree."""

import os
import random
import threading
import time
import uuid
from typing import Any

import pytest

from indicators.engine.spec import parse_request
from indicators.models import Subscription
from indicators.subscriptions import service as subscriptions

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 64
SECONDS = float(os.environ.get("HAMMER_SECONDS", "3"))
IDS = ["RSI_14", "RSI_14_100", "SMA_20", "EMA_9"]


class Client:
    """One session that subscribes, unsubscribes, says that it lives, and ends, at random."""

    def __init__(self, user_id: int, seed: int) -> None:
        self.user_id, self.chance = user_id, random.Random(seed)
        self.session_id = str(uuid.UUID(int=seed + 1))
        self.operations = 0
        self.failure: Exception | None = None

    def run(self, until: float) -> None:
        try:
            while time.monotonic() < until:
                self.act()
                self.operations += 1
            subscriptions.end_session_sync(user_id=self.user_id, session_id=self.session_id)
        except Exception as error:
            self.failure = error

    def act(self) -> None:
        who: dict[str, Any] = {"user_id": self.user_id, "session_id": self.session_id}
        pair: dict[str, Any] = {"symbol": self.chance.choice(["BTCUSD", "ETHUSD"]), "timeframe": "1min"}
        some = self.chance.sample(IDS, 2)
        dice = self.chance.random()
        if dice < 0.55:
            subscriptions.subscribe_sync(**who, **pair, specs=parse_request(some))
        elif dice < 0.85:
            subscriptions.unsubscribe_sync(**who, **pair, indicators=some)
        elif dice < 0.95:
            subscriptions.heartbeat_sync(**who, entries=[(*pair.values(), each) for each in some])
        else:
            subscriptions.end_session_sync(**who)


def test_a_hammer_of_threads_leaves_no_subscriber_behind(alice, bob, market, redis, keys):
    clients = [Client((alice, bob)[n % 2].pk, n) for n in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=client.run, args=(until,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [client.failure for client in clients if client.failure] == []
    print(f"{sum(client.operations for client in clients)} operations")
    assert sum(client.operations for client in clients) > CLIENTS
    assert redis.smembers(keys.wanted) == set()
    assert list(redis.scan_iter(f"{keys.prefix}indicator_sub:*")) == []
    assert not Subscription.objects.exists()
