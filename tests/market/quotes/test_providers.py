"""Where prices come from: the feed, an HTTP endpoint, their settings; the command and the statistics."""

import asyncio
import json
import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from rest_framework.test import APIRequestFactory, force_authenticate

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.api.quotes import QuoteStatsView
from stocksblitz.market.quotes import current_price
from stocksblitz.market.quotes.config import parse_accounts
from stocksblitz.market.quotes.current_price import (
    get_instrument_current_price,
    get_instrument_current_price_sync,
)
from stocksblitz.market.quotes.leases import decode_shared_price
from stocksblitz.market.quotes.providers import HttpProvider, dig, provider_class
from stocksblitz.market.quotes.rate_limit import CallQueue
from stocksblitz.market.quotes.types import number, quote_of
from stocksblitz.redis.client import connect
from stocksblitz.redis.decoding import BadData
from tests.conftest import atakes_less, eventually


class Broker(BaseHTTPRequestHandler):
    """A quote endpoint: what it answers is set by path, what it was asked is kept."""

    answers: dict[str, list[tuple[int, object]]] = {}
    asked: list[str] = []
    headers_seen: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.headers_seen.append(self.headers.get("Authorization"))
        path = urlsplit(self.path).path
        if path == "/many":
            symbols = parse_qs(urlsplit(self.path).query)["symbols"][0].split(",")
            status, body = 200, {"quotes": {s: {"last": len(s)} for s in symbols if s != "NONE"}}
        else:
            waiting = self.answers.get(unquote(path), [(404, {})])
            status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


@pytest.fixture
def broker(settings):
    Broker.answers, Broker.asked, Broker.headers_seen = {}, [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    settings.QUOTE_ACCOUNTS = {
        "broker": {
            "provider": "http",
            "url": f"{base}/q/{{symbol}}?key=topsecret",
            "price": "data.0.last",
            "bid": "data.0.bid",
            "ask": "data.0.ask",
            "ts": "time",
            "ts_unit": "s",
            "headers": {"Authorization": "Bearer topsecret"},
            "symbols": {"BTCUSD": "BTC/USD"},
            "attempts": 3,
        },
        "many": {
            "provider": "http",
            "url": f"{base}/q/{{symbol}}",
            "batch_url": f"{base}/many?symbols={{symbols}}",
            "price": "quotes.{symbol}.last",
        },
        "gone": {
            "provider": "http",
            "url": "http://127.0.0.1:9/{symbol}?key=topsecret",
            "price": "p",
            "attempts": 2,
        },
    }
    yield Broker
    current_price.reset()
    server.shutdown()
    server.server_close()


def feed_writes(redis, keys, symbol, **fields):
    redis.hset(keys.market(symbol), mapping=fields)


async def test_the_feeds_price_is_the_last_else_the_middle(redis, keys):
    feed_writes(redis, keys, "EURUSD", bid="1.25", ask="1.35", last="1.29", ts=1000, fresh_until=2000)
    feed_writes(redis, keys, "GBPUSD", bid="1.25", ask="1.35", ts=1000)
    price = await get_instrument_current_price("feed", "EURUSD")
    assert price[:5] == (1.29, 1.25, 1.35, 1000, "feed")
    assert (price.outcome, price.fresh_until) == ("call", 2000)
    assert (await get_instrument_current_price("feed", "GBPUSD")).price == pytest.approx(1.30)


@pytest.mark.parametrize(
    "fields", [{}, {"last": "nan"}, {"bid": "1"}, {"last": "0"}, {"last": "", "bid": "x", "ask": "1"}]
)
async def test_without_a_price_the_feed_is_unavailable_until_it_has_one(redis, keys, fields):
    if fields:
        feed_writes(redis, keys, "EURUSD", **fields)
    with pytest.raises(StocksBlitzError, match="no price of EURUSD") as raised:
        await get_instrument_current_price("feed", "EURUSD")
    assert (raised.value.code, raised.value.retryable) == ("unavailable", True)
    feed_writes(redis, keys, "EURUSD", last="1.5", bid="", ask="")
    assert (await get_instrument_current_price("feed", "EURUSD")).price == 1.5


async def test_a_feeds_price_is_never_older_than_the_cache_time_however_many_wait(redis, keys, settings):
    settings.PRICE_CACHE_TIME = 0.2
    feed_writes(redis, keys, "EURUSD", last="1.5")
    prices = await asyncio.gather(*(get_instrument_current_price("feed", "EURUSD") for _ in range(100)))
    assert {price.ttl_ms for price in prices} == {200}
    feed_writes(redis, keys, "EURUSD", last="1.6")
    assert (await get_instrument_current_price("feed", "EURUSD")).price == 1.5
    await asyncio.sleep(0.21)
    assert (await get_instrument_current_price("feed", "EURUSD")).price == 1.6


async def test_http_reads_what_its_paths_name(broker):
    broker.answers["/q/BTC/USD"] = [
        (200, {"data": [{"last": "101.5", "bid": 101, "ask": 102}], "time": 1763634900})
    ]
    price = await get_instrument_current_price("broker", "BTCUSD")
    assert price[:5] == (101.5, 101.0, 102.0, 1763634900000, "http")
    assert broker.asked == ["/q/BTC%2FUSD?key=topsecret"]
    assert broker.headers_seen == ["Bearer topsecret"]


async def test_http_tries_again_when_the_endpoint_is_busy(broker):
    broker.answers["/q/ACME"] = [(503, {}), (429, {}), (200, {"data": [{"last": 7}]})]
    assert (await get_instrument_current_price("broker", "ACME")).price == 7
    assert len(broker.asked) == 3


@pytest.mark.parametrize(
    ("answer", "calls", "words"),
    [
        ((401, {}), 1, "answered 401"),
        ((500, {}), 3, "answered 500"),
        ((404, {}), 1, "no price of ACME"),
        ((200, b"<html>"), 1, "not answer JSON"),
        ((200, {"data": []}), 1, "no price of ACME"),
        ((200, {"data": [{"last": float("nan")}]}), 1, "no price of ACME"),
    ],
)
async def test_what_http_fails_with_is_told_and_no_secret_with_it(broker, answer, calls, words):
    broker.answers["/q/ACME"] = [answer]
    with pytest.raises(StocksBlitzError, match=words) as raised:
        await get_instrument_current_price("broker", "ACME")
    assert (raised.value.code, raised.value.retryable) == ("unavailable", True)
    assert "topsecret" not in raised.value.message
    assert len(broker.asked) == calls


async def test_an_endpoint_that_is_not_there_is_unavailable(broker):
    with pytest.raises(StocksBlitzError, match="cannot be reached") as raised:
        await get_instrument_current_price("gone", "ACME")
    assert "topsecret" not in raised.value.message


async def test_http_asks_for_many_at_once(broker):
    symbols = ["A", "BB", "CCC"]
    prices = await asyncio.gather(*(get_instrument_current_price("many", each) for each in symbols))
    assert [price.price for price in prices] == [1, 2, 3]
    assert len(broker.asked) <= 2


@pytest.mark.parametrize(
    ("path", "found"),
    [("a.0.b", 1), ("a.1.b", None), ("a.b", None), ("x", None), ("c.{symbol}", 2), ("", None)],
)
def test_paths_lead_into_the_answer_or_nowhere(path, found):
    assert dig({"a": [{"b": 1}], "c": {"ACME": 2}}, path.split("."), "ACME") == found


@pytest.mark.parametrize("raw", [None, True, "", "x", "nan", "inf", float("nan"), [], b"\xff"])
def test_what_is_not_a_finite_number_is_none(raw):
    assert number(raw) is None


@pytest.mark.parametrize("raw", [1e400, 1e308, 1e-300, 10**400, "1e400", -1e13])
def test_a_price_that_nothing_can_be_computed_with_is_none(raw):
    assert quote_of(raw) is None
    assert quote_of(None, raw, 1.0) is None


@pytest.mark.parametrize(
    "raw", [b"", b"5", b"x []", b"5 [1]", b"5 [null,null,null,1,1]", b"1e99 [1,1,1,1,1]", b"\xff \xff"]
)
def test_a_shared_price_that_is_junk_is_bad_data(raw):
    with pytest.raises(BadData):
        decode_shared_price(raw, 5)


def test_a_negative_price_is_a_price():
    assert quote_of("-37.63").price == -37.63


@pytest.mark.parametrize(
    "setting",
    [
        "{",
        "no/such/file.json",
        "{}[]",
        {"a": {}},
        {"a": 5},
        {"a": {"provider": "http", "rate": -1}},
        {"a": {"provider": "http", "timeout": "3"}},
        {"a": {"provider": "http", "attempts": 1.5}},
    ],
)
def test_a_wrong_setting_says_so(setting):
    with pytest.raises(ImproperlyConfigured, match="QUOTE_ACCOUNTS"):
        parse_accounts(setting)


def test_accounts_come_from_json_or_a_file(tmp_path):
    document = json.dumps({"a": {"provider": "http", "url": "u", "rate": 5}})
    (tmp_path / "accounts.json").write_text(document)
    for setting in (document, str(tmp_path / "accounts.json")):
        accounts = parse_accounts(setting)
        assert sorted(accounts) == ["a", "feed"]
        assert (accounts["a"].rate, accounts["a"].options) == (5, {"url": "u"})


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://x/"},
        {"url": "http://x/{symbol}"},
        {"url": "http://x/{symbol}", "bid": "b"},
        {"url": "http://x/{symbol}", "price": "p", "batch_url": "http://x"},
        {"url": "http://x/{symbol}", "price": "p", "pirce": "p"},
    ],
)
def test_wrong_http_options_say_so(options):
    with pytest.raises(ImproperlyConfigured, match="http provider"):
        HttpProvider(options)


@pytest.mark.parametrize("name", ["ftp", "no.such:Provider", "json:dumps"])
def test_a_wrong_provider_says_so(name):
    with pytest.raises(ImproperlyConfigured, match="not"):
        provider_class(name)


async def test_the_rate_limit_holds_over_processes_and_in_the_order_of_asking(namespace):
    clients, reserved, passed = [connect(), connect()], asyncio.Event(), []

    def limit(redis):
        async def run(script, names, args):
            wait = await redis.eval(script, len(names), *names, *args)
            reserved.set()
            return wait

        return CallQueue(run, f"{namespace}rate", rate=50, burst=2)

    limits = [limit(redis) for redis in clients]

    async def call(i):
        await limits[i % 2].wait()
        passed.append(i)

    async def took():
        began, tasks = time.monotonic(), []
        passed.clear()
        for i in range(10):
            reserved.clear()
            tasks.append(asyncio.ensure_future(call(i)))
            await reserved.wait()
        await asyncio.gather(*tasks)
        ended = time.monotonic()
        assert ended - began >= 0.16, "two at once, then one each 20 ms"
        assert sorted(passed) == list(range(10))
        return ended - began if passed == list(range(10)) else math.inf

    await atakes_less(0.4, took)
    for redis in clients:
        await redis.aclose()


async def test_a_queue_that_is_too_long_is_refused(namespace, aredis):
    async def run(script, names, args):
        return await aredis.eval(script, len(names), *names, *args)

    limit = CallQueue(run, f"{namespace}rate", rate=0.05, burst=1)
    await limit.wait()
    tasks = [asyncio.ensure_future(limit.wait()) for _ in range(2)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(StocksBlitzError) as raised:
        done.pop().result()
    assert (raised.value.code, raised.value.retryable) == ("rate_limited", True)
    pending.pop().cancel()


def test_the_command_tells_price_age_provider_and_outcome(redis, keys):
    feed_writes(redis, keys, "EURUSD", bid="1.25", ask="1.35", last="1.29", ts=1000)
    said = []
    for _ in range(2):
        out = StringIO()
        call_command("quote", "EURUSD", stdout=out)
        said.append(out.getvalue())
    assert re.match(
        r"EURUSD 1\.29 \(bid 1\.25, ask 1\.35\), \d ms old, kept for 1000 ms, by feed: call", said[0]
    )
    assert said[1].strip().endswith("by feed: hit")
    with pytest.raises(CommandError, match="no price of NOPE"):
        call_command("quote", "NOPE")
    with pytest.raises(CommandError, match="no quote account 'x'"):
        call_command("quote", "EURUSD", "--account", "x")


def stats_of(django_user_model):
    request = APIRequestFactory().get("/api/market/quotes/stats")
    force_authenticate(request, django_user_model(username="someone"))
    return QuoteStatsView.as_view(throttle_classes=[])(request).data


def test_the_statistics_count_hits_misses_waits_and_calls(broker, redis, keys, django_user_model):
    before = stats_of(django_user_model)
    assert before["accounts"] == []
    assert before["total"]["hit_rate"] is None
    assert (before["price_cache_time"], before["price_cache_time_max"]) == (1.0, 4.0)
    broker.answers["/q/ACME"] = [(503, {}), (200, {"data": [{"last": 7}]})]
    feed_writes(redis, keys, "EURUSD", last="1.29")
    for _ in range(4):
        get_instrument_current_price_sync("broker", "ACME")
    get_instrument_current_price_sync("feed", "EURUSD")
    with pytest.raises(StocksBlitzError):
        get_instrument_current_price_sync("feed", "NOPE")

    def counted():
        found = stats_of(django_user_model)
        return found if found["total"]["misses"] == 3 else None

    found = eventually(counted, what="the counts are carried to Redis")
    broker_counts = {
        "hits": 3,
        "misses": 1,
        "waits": 0,
        "api_calls": 2,
        "failures": 0,
        "stretched": 0,
        "hit_rate": 0.75,
    }
    feed_counts = {
        "hits": 0,
        "misses": 2,
        "waits": 0,
        "api_calls": 2,
        "failures": 1,
        "stretched": 0,
        "hit_rate": 0.0,
    }
    assert found["accounts"] == [
        {"account": "broker", "provider": "http", **broker_counts},
        {"account": "feed", "provider": "feed", **feed_counts},
    ]
    assert found["providers"] == {"http": broker_counts, "feed": feed_counts}
    assert found["total"]["hits"] == 3


def test_the_statistics_are_metrics_too(redis, keys):
    from stocksblitz.observability.metrics import REGISTRY

    def value(event):
        labels = {"account": "feed", "provider": "feed", "event": event}
        return REGISTRY.get_sample_value("stocksblitz_quotes_total", labels) or 0

    before = value("hits"), value("api_calls")
    feed_writes(redis, keys, "EURUSD", last="1.29")
    for _ in range(3):
        get_instrument_current_price_sync("feed", "EURUSD")
    current_price.reset()
    assert (value("hits"), value("api_calls")) == (before[0] + 2, before[1] + 1)
