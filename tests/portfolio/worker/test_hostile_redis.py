"""Junk in public keys and channels costs the symbol, account or message that it is about, and no process."""

import pytest

from portfolio.models import AccountGroup, Position
from stocksblitz.market.models import Instrument
from tests.conftest import eventually
from tests.portfolio.worker.test_engine import book, same_as_rest, snapshot, start  # noqa: F401  (fixtures)

pytestmark = pytest.mark.django_db(transaction=True)

HASHES = [
    {"ts": "9223372036854775808"}, {"ts": "1e19"}, {"ts": "-1e19"}, {"ts": "1e400"}, {"ts": "1e9999999"}, {"ts": "nan"},
    {"fresh_until": "1e30"}, {"fresh_until": "-1e30"}, {"fresh_until": "soon"}, {"bid": "1e308", "ask": "1e308"},
    {"bid": "1e400", "ask": "1e400"}, {"bid": b"\xff\xfe", "source": b"\xff"}, "a string", ["a list"],
]  # fmt: skip


def spoil(redis, key, junk):
    if isinstance(junk, dict):
        redis.hset(key, mapping=junk)
    else:
        redis.delete(key)
        redis.set(key, junk) if isinstance(junk, str) else redis.rpush(key, *junk)


def test_junk_in_one_market_hash_stops_no_other_symbol(start, rest, account, price, snapshot, redis, keys):
    both, other = account("live:1"), account("live:2", balance="1500")
    for symbol in ("EURUSD", "GBPUSD"):
        price(symbol, "1.1", "1.1001")
        book(rest, both, symbol, "0.1")
    position = book(rest, other, "GBPUSD")
    process = start()
    eventually(lambda: snapshot(other) and snapshot(both))
    for n, junk in enumerate(HASHES, 2):
        spoil(redis, keys.market("EURUSD"), junk)
        redis.publish(keys.price_updates, "EURUSD")
        price("GBPUSD", f"1.1{n:03}", f"1.1{n:03}1")
        eventually(lambda: same_as_rest_of(rest, snapshot, other), what=str(junk))
        assert rest["alice"]("get", f"/api/portfolio/accounts/{both}/snapshot")["missing"] == ["EURUSD"]
        redis.delete(keys.market("EURUSD"))
        price("EURUSD", "1.1", "1.1001")
    price("GBPUSD", "1.08", "1.0801")
    eventually(lambda: Position.objects.get(pk=position).status == "closed")
    eventually(lambda: same_as_rest(rest, snapshot, both))
    assert process.runner.listener.get_statistics()["is_running"]


def same_as_rest_of(rest, snapshot, key):
    """The engine's equity is the oracle's."""
    shown = rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")
    return shown["equity"] is not None and snapshot(key)["equity"] == shown["equity"]


def test_junk_in_a_snapshot_is_shown_to_nobody_and_overwritten(
    start, rest, account, price, redis, keys, settings
):
    settings.PORTFOLIO_SWEEP_S = 1
    key = account()
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    start()
    name, bids = keys.snapshot(key), iter(range(2, 99))
    eventually(lambda: redis.get(name))
    future = b'{"epoch":%d,"version":%d' % (10**14, 10**14)
    for junk in ("junk", "", "null", "{}", future + b"]", future + b',"account":"live:1"}', ["a list"]):
        spoil(redis, name, junk) if not isinstance(junk, bytes) else redis.set(name, junk)
        assert rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")["account"] == key
        rest["alice"]("post", f"/api/portfolio/accounts/{key}/what-if", {"shocks": {"*": "0.1"}})
        price("EURUSD", f"1.1{next(bids):02}", "1.2")
        eventually(lambda: redis.type(name) == b"string" and b'"equity"' in redis.get(name), what=str(junk))


def test_holders_that_are_none_delay_no_loading(start, rest, account, price, snapshot, redis, keys):
    key = account()
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    redis.delete(keys.holders("EURUSD", "live"))
    redis.set(keys.holders("EURUSD", "live"), "junk")
    start()
    eventually(lambda: snapshot(key))
    eventually(lambda: redis.smembers(keys.holders("EURUSD", "live")) == {key.encode()})


def test_margin_settings_that_are_updated_reach_the_engine(start, rest, account, price, snapshot, settings):
    settings.PORTFOLIO_SWEEP_S = 1
    AccountGroup.objects.create(name="g", margin_call_level=90, stop_out_level=40)
    key = account(group="g", margin_policy="floating")
    price("EURUSD", "1.1", "1.1001")
    book(rest, key)
    start()
    eventually(lambda: same_as_rest(rest, snapshot, key))
    used = snapshot(key)["used_margin"]
    AccountGroup.objects.update(margin_call_level=120, stop_out_level=60, tiers=[["1", "3"]])
    eventually(lambda: snapshot(key)["stop_out_level"] == "60" and same_as_rest(rest, snapshot, key))
    assert snapshot(key)["used_margin"] != used
    Instrument.objects.filter(symbol="EURUSD").update(initial_margin="7.5")
    eventually(lambda: snapshot(key)["used_margin"] == "22.50" and same_as_rest(rest, snapshot, key))
