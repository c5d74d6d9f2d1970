import uuid

import orjson
import pytest
from django.test import Client

from indicators.models import Session, Subscription
from stocksblitz.identity import tokens
from stocksblitz.identity.models import ApiKey, Login
from tests.conftest import eventually
from tests.indicators.reads.test_cache import NOW, Worker, bars, forming, store

pytestmark = pytest.mark.django_db(transaction=True)


class Api:
    """A client with a token."""

    def __init__(self, user, **headers):
        pair = tokens.issue(Login.objects.create(user=user))
        self.session_id = pair["session_id"]
        self.access, self.refresh = pair["access"], pair["refresh"]
        self.headers = {"authorization": f"Bearer {self.access}", **headers}
        self.client = Client(raise_request_exception=False)

    def post(self, path, body=None, raw=None, **headers):
        data = raw if raw is not None else orjson.dumps(body if body is not None else {})
        return self.client.post(
            path, data, content_type="application/json", headers={**self.headers, **headers}
        )

    def get(self, path, query=None, **headers):
        return self.client.get(path, query, headers={**self.headers, **headers})


@pytest.fixture
def api(alice, market):
    return Api(alice)


def pair(*ids, symbol="BTCUSD", **more):
    return {"symbol": symbol, "timeframe": "1min", "indicators": list(ids), **more}


def refused(reply, status, code):
    body = reply.json()
    assert (reply.status_code, body["code"]) == (status, code), body
    assert reply["Content-Type"] == "application/problem+json"
    assert body["status"] == status
    assert body["detail"]
    return body


def test_subscribe_and_unsubscribe(api):
    reply = api.post("/indicators/subscribe", pair("RSI_14", "EMA_9"))
    assert reply.status_code == 200, reply.json()
    assert reply.json() == {
        "status": "subscribed",
        "session_id": api.session_id,
        "symbol": "BTCUSD",
        "timeframe": "1min",
        "indicators": ["RSI_14", "EMA_9"],
        "results": [
            {"indicator": "RSI_14", "new": True, "ref_count": 1},
            {"indicator": "EMA_9", "new": True, "ref_count": 1},
        ],
    }
    reply = api.post("/indicators/unsubscribe", pair("RSI_14"))
    assert reply.json() == {
        "status": "unsubscribed",
        "results": [{"indicator": "RSI_14", "last": True, "ref_count": 0}],
    }


def test_sessions_named_in_header_or_body(api, redis, keys):
    other = str(uuid.uuid4())
    api.post("/indicators/subscribe", pair("RSI_14", session_id=other))
    api.post("/indicators/subscribe", pair("RSI_14"), x_session_id=other.upper())
    assert Session.objects.get().session_id == uuid.UUID(other)
    refused(
        api.post("/indicators/subscribe", pair("RSI_14", session_id=other), x_session_id=str(uuid.uuid4())),
        400,
        "invalid_parameter",
    )
    refused(api.post("/indicators/subscribe", pair(session_id="x")), 400, "invalid_parameter")


def test_heartbeat_and_listing(api):
    api.post("/indicators/subscribe", pair("RSI_14_100"))
    named = [
        {"symbol": "BTCUSD", "timeframe": "1min", "indicator_id": each} for each in ("RSI_14_100", "EMA_9")
    ]
    reply = api.post("/indicators/heartbeat", {"subscriptions": named})
    assert reply.json() == {
        "status": "ok",
        "results": [{"indicator": "RSI_14_100", "alive": True}, {"indicator": "EMA_9", "alive": False}],
    }
    (row,) = api.get("/indicators/subscriptions").json()["subscriptions"]
    assert row["indicators"] == ["RSI_14_100"]
    assert row["subscribed_at"] <= row["last_heartbeat"]
    assert api.get("/indicators/subscriptions", {"symbol": "ETHUSD"}).json() == {"subscriptions": []}


def test_all_subscriptions_are_for_staff(api, admin):
    api.post("/indicators/subscribe", pair("RSI_14"))
    refused(api.get("/indicators/subscriptions", {"all": "true"}), 403, "forbidden")
    (row,) = Api(admin).get("/indicators/subscriptions", {"all": "true"}).json()["subscriptions"]
    assert {"indicator_id", "ref_count", "subscribers", "created_at", "last_accessed", "ttl"} <= row.keys()


def test_data_are_the_sessions_own(api, alice, bob, redis, keys):
    refused(api.get("/indicators/data/BTCUSD", {"timeframe": "1min"}), 404, "not_subscribed")
    api.post("/indicators/subscribe", pair("RSI_14_100"))
    entry = {"ts": NOW, "value": 67.3, "timeframe": "1min", "ready": True}
    frame = {
        "symbol": "BTCUSD",
        "timeframe": "1min",
        "timestamp": "2025-11-20T10:40:00.000Z",
        "ohlcv": {"ts": NOW, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1, "closed": False},
        "greeks": None,
        "oi": None,
        "indicators": {"RSI_14": entry, "EMA_9": {**entry, "value": 1.0}},
        "source": "simulated",
        "stale": False,
    }
    redis.set(keys.stream("BTCUSD", "1min", "frame"), orjson.dumps(frame))
    found = api.get("/indicators/data/BTCUSD", {"timeframe": "1min"}).json()
    assert found == {**frame, "indicators": {"RSI_14_100": entry}}
    stranger = Api(bob)
    reply = stranger.get("/indicators/data/BTCUSD", {"timeframe": "1min"}, x_session_id=api.session_id)
    refused(reply, 404, "not_subscribed")


def test_data_before_the_first_frame(api, redis, keys, settings):
    forming(redis, keys)
    settings.COMPUTE_WAIT_MS = 100
    api.post("/indicators/subscribe", pair("RSI_14"))
    found = api.get("/indicators/data/BTCUSD", {"timeframe": "1min"}).json()
    assert found["ohlcv"]["ts"] == NOW
    assert found["indicators"] == {"RSI_14": {"ts": None, "value": None, "timeframe": "1min", "ready": False}}


def test_current_values(api, redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14")
    query = {"timeframe": "1min", "indicators": "RSI_14,RSI_14_100"}
    reply = api.get("/indicators/BTCUSD/current", query)
    assert reply["X-Cache"] == "hit"
    entry = {"ts": NOW, "value": 1.5, "timeframe": "1min", "ready": True, "stale": False}
    assert reply.json() == {
        "symbol": "BTCUSD",
        "timeframe": "1min",
        "indicators": {"RSI_14": entry, "RSI_14_100": entry},
    }
    refused(api.get("/indicators/BTCUSD/current", {**query, "indicators": "EMA_9"}), 503, "unavailable")
    with Worker(keys):
        eventually(lambda: redis.zcard(keys.workers("compute")))
        reply = api.get("/indicators/BTCUSD/current", {**query, "indicators": "RSI_14,EMA_9"})
        assert reply["X-Cache"] == "miss"


def test_history(api, redis, keys):
    forming(redis, keys)
    bars(redis, keys, 10)
    with Worker(keys):
        eventually(lambda: redis.zcard(keys.workers("compute")))
        query = {"timeframe": "1min", "indicators": "RSI_14_100", "limit": "4"}
        found = api.get("/indicators/BTCUSD/history", query).json()
    assert found["indicators"] == {"RSI_14_100": [0, 1, 2, 3]}
    assert len(found["bars"]) == 4
    assert len(found["bars"][0]) == 6
    assert found["complete"] is True
    older = api.get("/indicators/BTCUSD/history", {"timeframe": "1min", "before": found["bars"][0][0]}).json()
    assert [bar[0] for bar in older["bars"]] == [NOW - (10 - i) * 60_000 for i in range(6)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (pair("NOPE_1"), 400, "unknown_indicator"),
        (pair("RSI_-1"), 400, "invalid_parameter"),
        (pair("RSI_99999999"), 400, "invalid_parameter"),
        (pair("RSI_14", symbol="BTC:USD"), 404, "unknown_symbol"),
        (pair("RSI_14", symbol="BTCUSD\n"), 404, "unknown_symbol"),
        (pair("RSI_14", symbol="*"), 404, "unknown_symbol"),
        (pair("RSI_14", symbol="BTCUSD\x00"), 404, "unknown_symbol"),
        (pair("RSI_14", symbol="٣"), 404, "unknown_symbol"),
        (pair("RSI_14", symbol=["BTCUSD"]), 400, "invalid_message"),
        ({**pair("RSI_14"), "timeframe": "7min"}, 400, "unknown_timeframe"),
        ({**pair("RSI_14"), "timeframe": None}, 400, "unknown_timeframe"),
        ({**pair("RSI_14"), "wrong": 1}, 400, "invalid_message"),
        ({"symbol": "BTCUSD"}, 400, "unknown_timeframe"),
        ({**pair(), "indicators": "RSI_14"}, 400, "invalid_message"),
        ({**pair(), "indicators": [1]}, 400, "invalid_message"),
        (pair(*(f"RSI_{n}" for n in range(2, 10_002))), 400, "limit_exceeded"),
        ([], 400, "invalid_message"),
        ("x", 400, "invalid_message"),
        (None, 400, "invalid_message"),
    ],
)
def test_wrong_requests_get_a_clear_error_and_store_nothing(api, redis, keys, body, status, code):
    refused(api.post("/indicators/subscribe", raw=orjson.dumps(body)), status, code)
    assert not Session.objects.exists()
    assert not Subscription.objects.exists()
    assert not redis.exists(keys.wanted)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"symbol": NaN}', 400, "invalid_json"),
        (b'{"symbol": "BTCUSD", "symbol": "ETHUSD"}', 400, "invalid_json"),
        (b'{"symbol": "\\ud800"}', 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"symbol": "' + b"x" * 10_000_000 + b'"}', 413, "too_large"),
    ],
    ids=["half", "NaN", "twice", "surrogate", "bytes", "deep", "10 MB"],
)
def test_what_is_no_json(api, raw, status, code):
    refused(api.post("/indicators/subscribe", raw=raw), status, code)


def test_hostile_paths_and_queries(api):
    for path in (
        "/indicators/BTC:USD/current",
        "/indicators/%0a/current",
        "/indicators/data/*",
        "/indicators/a%00b/history",
    ):
        reply = api.get(path, {"timeframe": "1min", "indicators": "RSI_14"})
        refused(reply, 404, reply.json()["code"])
    for query in (
        {"limit": "0"},
        {"limit": "5001"},
        {"limit": "-1"},
        {"limit": "٣"},
        {"before": "x"},
        {"limit": "1e3"},
    ):
        refused(
            api.get("/indicators/BTCUSD/history", {"timeframe": "1min", **query}), 400, "invalid_parameter"
        )
    refused(api.get("/indicators/BTCUSD/current", {"timeframe": "1min"}), 400, "invalid_parameter")


def test_everything_needs_to_know_who_asks(api):
    for path in ("/indicators/catalogue", "/indicators/metrics", "/api/market/symbols"):
        reply = Client().get(path)
        refused(reply, 401, "not_authenticated")
        assert reply["WWW-Authenticate"]


def test_api_keys(api, alice, session_id):
    _, key = ApiKey.objects.create_key(name="bot", user=alice)
    bot = Api(alice)
    bot.headers = {"authorization": f"Api-Key {key}"}
    refused(bot.post("/indicators/subscribe", pair("RSI_14")), 400, "invalid_message")
    assert bot.post("/indicators/subscribe", pair("RSI_14"), x_session_id=session_id).status_code == 200
    refused(bot.post("/auth/logout"), 400, "invalid_message")
    ApiKey.objects.update(revoked=True)
    refused(bot.get("/indicators/catalogue"), 401, "not_authenticated")
    for wrong in ("", "x", "a.b", "\x00.\x00", "ä.ö"):
        bot.headers = {"authorization": f"Api-Key {wrong}"}
        refused(bot.get("/indicators/catalogue"), 401, "not_authenticated")


def test_the_catalogue_names_what_there_is(api):
    names = {entry["name"] for entry in api.get("/indicators/catalogue").json()["indicators"]}
    assert {"RSI", "MACD", "BBANDS"} <= names


def test_what_is_shared(api, bob, redis, keys):
    forming(redis, keys)
    store(redis, keys, "RSI_14")
    before = api.get("/indicators/metrics").json()["cache"]["hits"]
    api.post("/indicators/subscribe", pair("RSI_14"))
    Api(bob).post("/indicators/subscribe", pair("RSI_14"))
    api.get("/indicators/BTCUSD/current", {"timeframe": "1min", "indicators": "RSI_14"})
    found = api.get("/indicators/metrics").json()
    assert found["total_subscriptions"] == 1
    assert found["total_subscribers"] == 2
    assert found["users_per_computation"] == 2
    assert found["by_symbol"] == {"BTCUSD": 1}
    assert found["by_timeframe"] == {"1min": 1}
    assert found["cache"]["hits"] == before + 1
    text = Client().get("/metrics").content.decode()
    assert 'indicator_shared_users{indicator="RSI_14",symbol="BTCUSD",timeframe="1min"} 2.0' in text
    assert 'indicator_active_subscriptions{symbol="BTCUSD",timeframe="1min"} 1.0' in text
    assert "# TYPE indicator_cache_hits_total counter" in text
