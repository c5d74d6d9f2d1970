"""The engine whole: real Redis, real database, its threads; only the prices are ours."""

import asyncio
import threading
import time

import orjson
import pytest

from portfolio.models import Account, LedgerEntry, MarginEvent, Order, Position
from portfolio.worker.process import PortfolioProcess
from tests.conftest import PATIENCE_S, eventually, stays

pytestmark = pytest.mark.django_db(transaction=True)

A, P, O = "/api/portfolio/accounts", "/api/portfolio/positions", "/api/portfolio/orders"  # noqa: E741  (accounts, positions, orders)


class Process:
    """A portfolio process in a thread of ours."""

    def __init__(self):
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    async def _main(self):
        self.runner, self.stop = PortfolioProcess(), asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._ready.set()
        await self.runner.run(self.stop)

    @property
    def engine(self):
        return self.runner.engine

    def close(self):
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
            self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def start(real, instruments):
    running = []

    def make():
        running.append(Process())
        return running[-1]

    yield make
    for each in running:
        each.close()


@pytest.fixture
def snapshot(redis):
    from stocksblitz.redis.client import current_keys

    def read(account):
        raw = redis.get(current_keys().snapshot(account))
        return orjson.loads(raw) if raw else None

    return read


def book(rest, key, symbol="EURUSD", quantity="1", price="1.1000", side="buy"):
    body = {"account": key, "symbol": symbol, "side": side, "quantity": quantity, "price": price}
    return rest["admin"]("post", P, body, 201)["id"]


def same_as_rest(rest, snapshot, key):
    """The snapshot in Redis says what the oracle says over REST, but for who wrote it and when."""
    shown = rest["alice"]("get", f"{A}/{key}/snapshot")
    written = snapshot(key)
    if written is None or shown["equity"] is None:
        return False
    return {**written, "ts": 0, "version": 0} == {**shown, "ts": 0, "version": 0}


def test_a_tick_becomes_a_snapshot_equal_to_the_oracle(start, rest, account, price, snapshot):
    hedging, netting = account("live:1"), account("demo:2", currency="GBP", mode="netting", leverage=30)
    for symbol, bid, ask in (
        ("EURUSD", "1.1", "1.1001"),
        ("GBPUSD", "1.3", "1.3002"),
        ("USDJPY", "150.5", "150.51"),
    ):
        price(symbol, bid, ask)
    for key in (hedging, netting):
        book(rest, key)
        book(rest, key, "USDJPY", "0.5", "150.123")
        book(rest, key, "USDJPY", "0.2", "150.4", "sell")
    start()
    for key in (hedging, netting):
        eventually(lambda key=key: same_as_rest(rest, snapshot, key), what=key)
    for bid, ask in (("1.15", "1.1502"), ("1.05", "1.0501")):
        price("EURUSD", bid, ask)
        for key in (hedging, netting):
            eventually(lambda key=key: same_as_rest(rest, snapshot, key), what=f"{key} at {bid}")
    # The pound account hangs on GBPUSD by conversion alone.
    before = snapshot(netting)["equity"]
    price("GBPUSD", "1.4", "1.4002")
    eventually(lambda: snapshot(netting)["equity"] != before and same_as_rest(rest, snapshot, netting))
    # Changes of what is held arrive without a tick.
    made = book(rest, hedging, "GBPUSD", "0.1", "1.39")
    eventually(lambda: any(p["id"] == made for p in snapshot(hedging)["positions"]))
    rest["alice"]("post", f"{P}/{made}/close", {})
    eventually(lambda: all(p["id"] != made for p in snapshot(hedging)["positions"]))
    eventually(lambda: same_as_rest(rest, snapshot, hedging))


def test_versions_grow_and_only_changes_are_announced(start, rest, account, price, snapshot, redis):
    from portfolio.worker.snapshot_writer import updates
    from stocksblitz.redis.client import current_keys

    key = account()
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    process = start()
    eventually(lambda: process.engine.stats["announced"] == 1)
    listener = redis.pubsub()
    listener.subscribe(updates(current_keys()))
    versions = [snapshot(key)["version"]]
    for n in range(3):
        price("EURUSD", f"1.1{n + 1}", f"1.1{n + 1}01")
        eventually(lambda: snapshot(key)["version"] > versions[-1])
        versions.append(snapshot(key)["version"])
    eventually(lambda: process.engine.stats["announced"] == 4)
    price("EURUSD", "1.13", "1.1301")  # the same again
    stays(lambda: process.engine.stats["announced"] == 4, 0.6)
    seen = []
    while message := listener.get_message(timeout=0.1):
        if message["type"] == "message":
            seen += orjson.loads(message["data"])["accounts"]
    assert seen == [key] * 3


def test_a_missing_or_stale_price_flags_and_suspends(start, rest, account, price, snapshot, redis):
    from stocksblitz.redis.client import current_keys

    key = account(balance="5000")
    book(rest, key)
    start()
    eventually(lambda: snapshot(key) and snapshot(key)["stale"])
    assert (snapshot(key)["equity"], snapshot(key)["missing"]) == (None, ["EURUSD"])
    # A price that would stop the account out, but it is old.
    price("EURUSD", "1.0", "1.0001", fresh_until=int(time.time() * 1000) - 1)
    eventually(lambda: snapshot(key)["equity"] == "-5000.00")
    assert snapshot(key)["state"] == "stale"
    stays(lambda: not MarginEvent.objects.exists(), 0.5)
    price("EURUSD", "1.1", "1.1001")
    eventually(lambda: snapshot(key)["stale"] is False)
    redis.delete(current_keys().market("EURUSD"))
    redis.publish(current_keys().price_updates, "EURUSD")
    eventually(lambda: snapshot(key)["equity"] is None)
    assert Position.objects.get().status == "open"


def test_a_price_that_ages_turns_stale_without_any_message(start, rest, account, price, snapshot):
    key = account()
    book(rest, key)
    start()
    price("EURUSD", "1.1", "1.1001")
    eventually(lambda: snapshot(key) and snapshot(key)["stale"] is False)
    price("EURUSD", "1.2", "1.2001", fresh_until=int(time.time() * 1000) + 1500)
    eventually(lambda: snapshot(key)["stale"])


def test_the_margin_call_is_told_once_and_so_is_its_end(start, rest, account, price, snapshot):
    key = account(balance="2000")
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    start()
    eventually(lambda: snapshot(key) and snapshot(key)["state"] == "ok")
    assert snapshot(key)["margin_call_price"] == "1.091"
    price("EURUSD", "1.0910", "1.0911")  # equity 1100 = used margin 1100
    eventually(lambda: MarginEvent.objects.filter(kind="margin_call").exists())
    price("EURUSD", "1.0909", "1.0911")
    price("EURUSD", "1.1000", "1.1001")
    eventually(lambda: MarginEvent.objects.filter(kind="restored").exists())
    assert MarginEvent.objects.count() == 2
    [restored, call] = rest["alice"]("get", f"{A}/{key}/events")["results"]
    assert (restored["kind"], call["kind"]) == ("restored", "margin_call")
    assert "margin level 100.00 %" in call["text"]


def test_stop_out_takes_orders_first_then_the_largest_loss_and_no_more(start, rest, account, price, snapshot):
    key = account(balance="3000", stop_out_level="50", margin_call_level="100")
    price("EURUSD", "1.1000")
    price("GBPUSD", "1.3000")
    losing, small = book(rest, key), book(rest, key, "GBPUSD", "0.5", "1.3000")
    body = {
        "account": key,
        "symbol": "EURUSD",
        "side": "buy",
        "quantity": "0.5",
        "type": "limit",
        "price": "1.0",
    }
    waiting = rest["alice"]("post", O, body, 201)["id"]
    start()
    eventually(lambda: snapshot(key) and snapshot(key)["used_margin"] == "2250.00")
    price("GBPUSD", "1.2990")
    price("EURUSD", "1.0780")  # -2200 and -50: equity 750 of 1750 used without the order: 42.86 %
    eventually(lambda: Position.objects.get(pk=losing).status == "closed")
    eventually(lambda: snapshot(key)["state"] == "ok")
    assert Order.objects.get(pk=waiting).status == "cancelled"
    assert Position.objects.get(pk=small).status == "open"
    assert Account.objects.get().balance == 800
    snap = snapshot(key)
    assert (snap["equity"], snap["used_margin"], snap["margin_level"]) == ("750.00", "650.00", "115.38")
    journal = rest["alice"]("get", f"{A}/{key}/journal")["results"][::-1]
    kinds = [entry["kind"] for entry in journal if entry["kind"] not in ("margin_call", "restored")]
    assert kinds == ["stop_out", "order_cancelled", "position_closed"]
    stop = next(entry for entry in journal if entry["kind"] == "stop_out")
    assert stop["inputs"]["prices"]["EURUSD"]["bid"] == "1.078"
    assert stop["inputs"]["before"]["equity"] == "750.00"
    assert stop["inputs"]["after"]["margin_level"] == "115.38"
    assert LedgerEntry.objects.filter(account__key=key, kind="trade").count() == 1


def test_pending_orders_are_executed_when_their_price_comes(start, rest, account, price, snapshot):
    key = account()
    price("EURUSD", "1.1000", "1.1002")
    made = {}
    for kind, side, at in (
        ("limit", "buy", "1.0990"),
        ("stop", "sell", "1.0980"),
        ("stop", "buy", "1.1100"),
        ("limit", "sell", "1.2"),
    ):
        body = {
            "account": key,
            "symbol": "EURUSD",
            "side": side,
            "quantity": "0.1",
            "type": kind,
            "price": at,
        }
        made[kind, side] = rest["alice"]("post", O, body, 201)["id"]
    start()
    eventually(lambda: snapshot(key))
    price("EURUSD", "1.0988", "1.0990")
    eventually(lambda: Order.objects.get(pk=made["limit", "buy"]).status == "filled")
    assert Order.objects.get(pk=made["limit", "buy"]).filled_price == Position.objects.get().price
    price("EURUSD", "1.0975", "1.0977")
    eventually(lambda: Order.objects.get(pk=made["stop", "sell"]).status == "filled")
    assert str(Order.objects.get(pk=made["stop", "sell"]).filled_price).startswith("1.0975")
    price("EURUSD", "1.1101", "1.1103")
    eventually(lambda: Order.objects.get(pk=made["stop", "buy"]).status == "filled")
    assert Order.objects.get(pk=made["limit", "sell"]).status == "pending"
    eventually(lambda: len(snapshot(key)["positions"]) == 3)


def test_an_order_that_margin_does_not_cover_is_rejected(start, rest, account, price, snapshot):
    key = account(balance="1300")
    price("EURUSD", "1.1000", "1.1002")
    body = {
        "account": key,
        "symbol": "EURUSD",
        "side": "buy",
        "quantity": "1",
        "type": "limit",
        "price": "1.0990",
    }
    made = rest["alice"]("post", O, body, 201)["id"]
    Account.objects.update(balance="900")
    start()
    eventually(lambda: snapshot(key))
    price("EURUSD", "1.0980", "1.0982")
    eventually(lambda: Order.objects.get(pk=made).status == "rejected")
    assert not Position.objects.exists()


def test_status_and_dirty_users_are_told_to_the_web(start, rest, account, price, redis, snapshot):
    from stocksblitz.redis.client import current_keys

    key = account()
    price("EURUSD", "1.1")
    book(rest, key)
    redis.sadd(current_keys().holders("EURUSD", "live"), "live:1001")
    start()
    eventually(lambda: snapshot(key))
    price("EURUSD", "1.2")
    status = eventually(
        lambda: (
            (s := rest["alice"]("get", "/api/market/portfolio/status"))["symbols_processed"]
            and s["is_running"]
            and s
        )
    )
    assert status["workers"] == 1
    assert status["accounts"] == 1
    assert status["positions"] == 1
    assert status["uptime_seconds"] >= 0
    dirty = eventually(
        lambda: (d := rest["admin"]("get", "/api/market/portfolio/dirty-users/live"))["count"] and d
    )
    assert "live:1001" in dirty["users"]
    assert "live:1001" not in rest["alice"]("get", "/api/market/portfolio/dirty-users/live")["users"]
    assert rest["admin"]("get", "/api/market/portfolio/dirty-users/demo")["user_type"] == "demo"
    rest["admin"]("get", "/api/market/portfolio/dirty-users/gold", status=404)


def test_live_accounts_are_never_touched_by_mock_prices(start, rest, account, price, snapshot, settings):
    from stocksblitz.market.feeds.spec import FeedSpec

    settings.FEED = FeedSpec.parse("simulated")
    live, demo = account("live:9", balance="100"), account("demo:9", balance="100")
    for key in (live, demo):
        book(rest, key, quantity="0.05")
    process = start()
    price("EURUSD", "1.08", "1.0801")
    eventually(lambda: Position.objects.get(account__key=demo).status == "closed")
    stays(lambda: Position.objects.get(account__key=live).status == "open", 0.5)
    assert snapshot(live) is None
    assert list(process.engine.book.index) == [demo]


def test_the_oracle_checks_a_sample_and_raises_the_alarm(start, rest, account, price, snapshot, settings):
    settings.PORTFOLIO_DRIFT_SAMPLE = 1
    key = account()
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    process = start()
    eventually(lambda: snapshot(key))
    price("EURUSD", "1.2", "1.2001")
    eventually(lambda: process.engine.stats["drift_checks"] > 1)
    assert process.engine.stats["drift_alarms"] == 0
    slot = process.engine.book.index[key]
    process.engine.book.slots.balance[slot] += 0.01  # as a defect would
    price("EURUSD", "1.3", "1.3001")
    eventually(lambda: process.engine.stats["drift_alarms"])
    eventually(lambda: same_as_rest(rest, snapshot, key))  # and is mended
