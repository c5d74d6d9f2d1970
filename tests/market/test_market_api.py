from datetime import UTC, datetime
from functools import partial

import orjson
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client

from stocksblitz.identity import tokens
from stocksblitz.identity.models import Login
from stocksblitz.market.api.views import gaps
from stocksblitz.market.calendars.sessions import session_at
from stocksblitz.market.core.bars import DAY_MS, MINUTE_MS
from stocksblitz.market.feeds.session_tables import SessionTables
from stocksblitz.market.models import Bar, Instrument, OptionContract
from stocksblitz.market.store.session_tables import session_table_name
from stocksblitz.redis.client import connect

pytestmark = pytest.mark.django_db(transaction=True)

T0 = int(datetime(2025, 11, 20, 3, 45, tzinfo=UTC).timestamp() * 1000)
"""The NSE opens."""
MADE = {
    "symbol": "EURUSD",
    "exchange": "24x5",
    "kind": "forex",
    "base_currency": "EUR",
    "currency": "USD",
    "contract_size": "100000",
    "tick_size": "0.00001",
    "margin_mode": "forex",
    "margin_rate": "1",
}


@pytest.fixture
def nifty(transactional_db):
    return Instrument.objects.create(
        symbol="NIFTY50", name="Nifty 50", exchange="XNSE", kind="index", currency="INR"
    )


def client_of(name, **flags):
    user = User.objects.create(username=name, **flags)
    access = tokens.issue(Login.objects.create(user=user))["access"]
    return Client(headers={"authorization": f"Bearer {access}"})


@pytest.fixture
def client(nifty):
    return client_of("alice")


def post(client, body):
    return client.post("/api/market/symbols", orjson.dumps(body), content_type="application/json")


def test_staff_make_instruments(client):
    staff = client_of("root", is_staff=True)
    assert post(client, MADE).status_code == 403
    reply = post(staff, MADE)
    assert reply.status_code == 201, reply.json()
    assert reply.json()["contract_size"] == "100000.00000000"
    assert post(staff, MADE).json()["code"] == "conflict"
    (found,) = client.get("/api/market/symbols", {"search": "eur"}).json()["symbols"]
    assert found["symbol"] == "EURUSD"


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": "eur/usd"},
        {"symbol": "EURUSD\n"},
        {"symbol": "metrics"},
        {"exchange": "NOWHERE"},
        {"kind": "magic"},
        {"contract_size": "NaN"},
        {"tick_size": "1e99"},
        {"surprise": 1},
        {"symbol": None},
    ],
)
def test_wrong_instruments_are_refused(wrong):
    reply = post(client_of("root", is_staff=True), {**MADE, **wrong})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_message")
    assert reply.json()["errors"][0]["field"] == next(iter(wrong))
    assert not Instrument.objects.filter(symbol="EURUSD").exists()


def bar_row(i):
    return [T0 + i * MINUTE_MS, 1.0, 2.0, 0.5, 1.5, 10.0, T0]


def test_bars(client, redis, keys):
    for i in range(5):
        redis.zadd(keys.bars("NIFTY50", "1min"), {orjson.dumps(bar_row(i)): bar_row(i)[0]})
    found = client.get("/api/market/NIFTY50/bars", {"timeframe": "1min", "limit": 3}).json()
    assert found["bars"] == [bar_row(i)[:6] for i in (2, 3, 4)]
    assert found["complete"] is True
    before = client.get("/api/market/NIFTY50/bars", {"timeframe": "1min", "before": bar_row(2)[0]}).json()
    assert before["bars"] == [bar_row(i)[:6] for i in (0, 1)]
    assert before["complete"] is False
    assert client.get("/api/market/NOPE/bars", {"timeframe": "1min"}).json()["code"] == "unknown_symbol"


def test_older_bars_of_the_real_realm_are_in_the_database(client, redis, settings):
    from stocksblitz.market.feeds.spec import FeedSpec
    from stocksblitz.redis.client import current_keys

    settings.FEED = FeedSpec.parse("external")
    redis.zadd(current_keys().bars("NIFTY50", "1min"), {orjson.dumps(bar_row(3)): bar_row(3)[0]})
    for i in range(4):
        ts, opened, high, low, close, volume, session = bar_row(i)
        Bar.objects.create(
            symbol="NIFTY50",
            timeframe="1min",
            ts=ts,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            session=session,
        )
    found = client.get("/api/market/NIFTY50/bars", {"timeframe": "1min", "limit": 3}).json()
    assert [bar[0] for bar in found["bars"]] == [bar_row(i)[0] for i in (1, 2, 3)]


def test_gaps_are_where_the_exchange_was_open(client, redis, keys):
    last = T0 + 374 * MINUTE_MS  # the last minute of the session
    tomorrow = T0 + 24 * 60 * MINUTE_MS
    assert gaps(partial(session_at, "XNSE"), "1min", [T0, T0 + MINUTE_MS, last, tomorrow]) == [
        {"start": T0 + 2 * MINUTE_MS, "end": last}
    ]
    assert gaps(partial(session_at, "XNSE"), "1min", [last - MINUTE_MS, tomorrow + MINUTE_MS]) == [
        {"start": last, "end": tomorrow + MINUTE_MS}
    ]
    for i in (0, 1, 4):
        redis.zadd(keys.bars("NIFTY50", "1min"), {orjson.dumps(bar_row(i)): bar_row(i)[0]})
    query = {"timeframe": "1min"}
    assert client.get("/api/market/NIFTY50/gaps", query).json()["code"] == "unavailable"
    async_to_sync(write_tables)(keys)
    found = client.get("/api/market/NIFTY50/gaps", query).json()
    assert found["gaps"] == [{"start": bar_row(2)[0], "end": bar_row(4)[0]}]
    old = [T0 - 40 * 365 * DAY_MS, 1.0, 2.0, 0.5, 1.5, 10.0, T0]
    redis.zadd(keys.bars("NIFTY50", "1min"), {orjson.dumps(old): old[0]})
    assert client.get("/api/market/NIFTY50/gaps", query).json()["code"] == "unavailable", "of no known year"
    redis.zrem(keys.bars("NIFTY50", "1min"), orjson.dumps(old))
    redis.set(session_table_name(keys, "XNSE"), b"[[1],[2],[true]]")
    assert client.get("/api/market/NIFTY50/gaps", query).json()["code"] == "unavailable", "junk"
    Instrument.objects.update(exchange="XXXX")
    assert client.get("/api/market/NIFTY50/gaps", query).json()["code"] == "invalid_parameter"


async def write_tables(keys):
    """Write the session tables of all instruments, as a feed does beside its work."""
    redis = connect()
    await SessionTables(redis, keys, lambda: range(2025, 2026)).step()
    await redis.aclose()


def test_the_chain(client, nifty, redis, keys):
    expiry = datetime(2025, 11, 27, 10, 0, tzinfo=UTC)
    for right in ("call", "put"):
        symbol = f"NIFTY50-24000-{right.upper()}"
        made = Instrument.objects.create(symbol=symbol, exchange="XNSE", kind="option", currency="INR")
        OptionContract.objects.create(
            instrument=made, underlying=nifty, expiry=expiry, strike=24000, right=right
        )
    greeks = {"iv": 0.12, "delta": 0.5}
    redis.hset(
        keys.market("NIFTY50-24000-CALL"),
        mapping={"bid": "10.5", "ask": "11", "last": "10.7", "ts": T0, "greeks": orjson.dumps(greeks)},
    )
    redis.hset(keys.market("NIFTY50"), "oi", orjson.dumps({"call": 1, "put": 2, "pcr": 2.0, "change": 0}))
    found = client.get("/api/market/NIFTY50/chain", {"expiry": "2025-11-27"}).json()
    call, put = found["contracts"]
    assert (call["right"], call["strike"], call["bid"], call["greeks"]) == ("call", 24000.0, 10.5, greeks)
    assert (put["right"], put["bid"], put["greeks"]) == ("put", None, None)
    assert found["oi"]["pcr"] == 2.0
    assert client.get("/api/market/NIFTY50/chain", {"expiry": "2025-11-28"}).json()["contracts"] == []
    assert client.get("/api/market/NIFTY50/chain", {"expiry": "soon"}).status_code == 400
    assert [each["symbol"] for each in client.get("/api/market/symbols").json()["symbols"]] == ["NIFTY50"]


def test_a_quote_comes_from_the_feed(client, redis, keys):
    assert client.get("/api/market/NIFTY50/quote").json()["code"] == "unavailable"
    redis.hset(
        keys.market("NIFTY50"),
        mapping={
            "bid": "99",
            "ask": "101",
            "last": "100",
            "ts": T0,
            "fresh_until": 10**14,
            "source": "simulated",
        },
    )
    from stocksblitz.market.quotes import current_price

    current_price.reset()
    found = client.get("/api/market/NIFTY50/quote").json()
    assert (found["price"], found["bid"], found["ask"], found["stale"]) == (100.0, 99.0, 101.0, False)
    assert client.get("/api/market/NIFTY50/quote", {"account": "nobody"}).status_code == 404


JUNK_FIELDS = [
    {"ts": "nan"}, {"ts": "1e400"}, {"ts": "x"}, {"ts": 2**63}, {"bid": "x"}, {"bid": "nan"}, {"bid": "inf"},
    {"bid": b"\xff\xfe\x80", "ts": b"\xff"}, {"greeks": "junk"}, {"greeks": "[" * 900}, {"oi": b"\xff"}, "a list",
]  # fmt: skip


@pytest.mark.parametrize("fields", JUNK_FIELDS)
def test_the_junk_of_one_option_leaves_the_chain_as_it_is(client, nifty, redis, keys, fields):
    for strike in (24000, 24100):
        made = Instrument.objects.create(symbol=f"C{strike}", exchange="XNSE", kind="option", currency="INR")
        expiry = datetime(2025, 11, 27, 10, 0, tzinfo=UTC)
        terms = {"underlying": nifty, "expiry": expiry, "strike": strike, "right": "call"}
        OptionContract.objects.create(instrument=made, **terms)
    fine = {"bid": "3", "ask": "3.1", "last": "3.05", "ts": T0}
    redis.hset(keys.market("C24100"), mapping=fine)
    if fields == "a list":
        redis.rpush(keys.market("C24000"), "junk")
    else:
        redis.hset(keys.market("C24000"), mapping=fine | fields)
    found = client.get("/api/market/NIFTY50/chain")
    assert found.status_code == 200
    spoilt, good = found.json()["contracts"]
    assert (spoilt["symbol"], spoilt["strike"], spoilt["bid"], spoilt["greeks"]) == (
        "C24000",
        24000.0,
        None,
        None,
    )
    assert (good["bid"], good["ask"], good["last"], good["ts"]) == (3.0, 3.1, 3.05, T0)


def test_junk_among_stored_bars_is_left_out(client, redis, keys):
    rows = [bar_row(i) for i in range(4)]
    redis.zadd(keys.bars("NIFTY50", "1min"), {orjson.dumps(row): row[0] for row in rows})
    junk = [
        b"junk",
        b"\xff",
        b"[]",
        b"[1,2]",
        b"null",
        b"[NaN,1,1,1,1,1,1]",
        b"[null,null,null,null,null,null,null]",
    ]
    redis.zadd(keys.bars("NIFTY50", "1min"), {raw: rows[2][0] + 1 + i for i, raw in enumerate(junk)})
    found = client.get("/api/market/NIFTY50/bars", {"timeframe": "1min", "limit": 50})
    assert found.status_code == 200
    assert found.json()["bars"] == [row[:6] for row in rows]


def test_a_key_of_another_type_has_no_bars_and_no_price(client, redis, keys):
    redis.rpush(keys.bars("NIFTY50", "1min"), "junk")
    redis.rpush(keys.market("NIFTY50"), "junk")
    assert client.get("/api/market/NIFTY50/bars", {"timeframe": "1min"}).json()["bars"] == []
    assert client.get("/api/market/NIFTY50/quote").json()["code"] == "unavailable"


@pytest.mark.parametrize(
    "fields",
    [{"last": "1e400"}, {"last": "1e308"}, {"ts": "1e19"}, {"fresh_until": "1e30"}, {"bid": b"\xff"}],
)
def test_a_hostile_price_is_no_quote(client, redis, keys, fields):
    redis.hset(keys.market("NIFTY50"), mapping={"bid": "99", "ask": "101", "last": "100", "ts": T0, **fields})
    assert client.get("/api/market/NIFTY50/quote").json()["code"] == "unavailable"


@pytest.mark.parametrize("reply", ["ChainReply", "OptionQuote", "DataReply"])
def test_greeks_and_open_interest_may_be_null_in_the_schema(db, reply):
    schema = Client().get("/api/schema", headers={"accept": "application/json"}).json()
    properties = schema["components"]["schemas"][reply]["properties"]
    for name in ("greeks", "oi"):
        assert set(properties[name]["type"]) == {"object", "null"}
