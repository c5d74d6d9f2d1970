"""The WebSocket against the real server: isolation, joins, replies, the life of a session."""

import asyncio
import contextlib
import uuid

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.conftest import PATIENCE_S, aeventually
from tests.e2e.tabs import Tab, check_order, sign_in, token_of

pytestmark = pytest.mark.process


async def updates(tab, symbol, timeframe, count):
    return [
        await tab.next("market_update", lambda m: (m["symbol"], m["timeframe"]) == (symbol, timeframe))
        for _ in range(count)
    ]


async def test_a_subscription_is_answered_then_a_snapshot_then_updates(live_stack):
    tab = await Tab.open(live_stack)
    reply, snapshot = await tab.subscribe("NIFTY50", "5min", ["RSI_14", "MACD_12_26_9"], history=200)
    assert reply["indicators"] == ["RSI_14", "MACD_12_26_9"]
    history = snapshot["history"]
    assert len(history["bars"]) == len(history["indicators"]["RSI_14"]) == 200
    assert history["complete"] is True
    assert history["bars"] == sorted(history["bars"])
    assert history["bars"][-1][0] < snapshot["ohlcv"]["ts"]
    assert all(value is not None for value in history["indicators"]["RSI_14"][-10:])
    assert set(history["indicators"]["MACD_12_26_9"][-1]) == {"MACD", "MACDh", "MACDs"}
    assert snapshot["source"] == "simulated"
    await tab.next(
        "market_update", lambda m: m["greeks"] is not None
    )  # the chain is there a moment after the prices
    frames = await updates(tab, "NIFTY50", "5min", 5)
    for frame in frames:
        assert set(frame["indicators"]) == {"RSI_14", "MACD_12_26_9"}
        assert frame["indicators"]["RSI_14"]["ready"] is True
        assert 0 <= frame["indicators"]["RSI_14"]["value"] <= 100
        assert frame["greeks"]["call"]["iv"] > 0
        assert frame["oi"]["pcr"] > 0
    check_order(tab.messages, "NIFTY50", "5min")
    await tab.close()


async def test_alice_and_bob_each_get_exactly_their_own(live_stack):
    """The scenario of the design: one user in two tabs, another user; one computation of RSI serves two of them."""
    first, second, bob = [await Tab.open(live_stack) for _ in range(2)] + [
        await Tab.open(live_stack, await token_of(live_stack, "admin"))
    ]
    mine = {
        first: ["RSI_14_100", "MACD_12_26_9"],
        second: ["SMA_20", "BBANDS_20_2"],
        bob: ["RSI_14"],
    }
    for tab, ids in mine.items():
        await tab.subscribe("NIFTY50", "5min", ids)
    for tab, ids in mine.items():
        for frame in await updates(tab, "NIFTY50", "5min", 10):
            assert set(frame["indicators"]) == set(ids)
            assert frame["ohlcv"]["close"] > 0
            assert "greeks" in frame
            assert "oi" in frame
    by_seq = {(m["epoch"], m["seq"]): m for m in first.messages if m["type"] == "market_update"}
    shared = [
        m for m in bob.messages if (m.get("epoch"), m.get("seq")) in by_seq and m["type"] == "market_update"
    ]
    assert shared
    for frame in shared:
        other = by_seq[frame["epoch"], frame["seq"]]
        assert frame["indicators"]["RSI_14"] == other["indicators"]["RSI_14_100"]
    for tab in mine:
        await tab.close()


async def test_indicators_are_named_in_three_forms_and_unsubscribed_by_id(live_stack):
    tab = await Tab.open(live_stack)
    await tab.subscribe(
        "TCS", "1min", {"RSI_14_100": {"name": "RSI", "params": {"length": 14, "scalar": 100}}}
    )
    reply, _ = await tab.subscribe("TCS", "1min", [{"name": "SMA", "params": {"length": 20}}])
    assert reply["indicators"] == ["RSI_14_100", "SMA_20"]
    reply, snapshot = await tab.subscribe("BTCUSD", "1h", [])
    assert (reply["indicators"], snapshot["indicators"]) == ([], {})
    await tab.send(
        type="unsubscribe", id=1, symbol="TCS", timeframe="1min", indicators=["RSI_14_100", "EMA_9"]
    )
    assert (await tab.next("unsubscribed"))["indicators"] == ["SMA_20"]
    for frame in await updates(tab, "TCS", "1min", 3):
        assert set(frame["indicators"]) == {"SMA_20"}
    await tab.send(type="list", id=2)
    rows = (await tab.next("subscriptions"))["subscriptions"]
    assert {(row["symbol"], row["timeframe"], *row["indicators"]) for row in rows} == {
        ("TCS", "1min", "SMA_20"),
        ("BTCUSD", "1h"),
    }
    await tab.send(type="unsubscribe", id=3)
    await tab.next("unsubscribed", lambda m: m["id"] == 3)
    await tab.send(type="ping", subscriptions=[{"symbol": "TCS", "timeframe": "1min", "indicator": "SMA_20"}])
    pong = await tab.next("pong")
    assert pong["results"] == [{"symbol": "TCS", "timeframe": "1min", "indicator": "SMA_20", "alive": False}]
    assert not [m for m in tab.messages[-2:] if m["type"] == "market_update"]
    await tab.close()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_message"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":"subscribe","symbol":"NOPE","timeframe":"5min"}', "unknown_symbol"),
        ('{"type":"subscribe","symbol":"TCS:*","timeframe":"5min"}', "unknown_symbol"),
        ('{"type":"subscribe","symbol":"TCS","timeframe":"7min"}', "unknown_timeframe"),
        (
            '{"type":"subscribe","symbol":"TCS","timeframe":"5min","indicators":["NOPE_1"]}',
            "unknown_indicator",
        ),
        (
            '{"type":"subscribe","symbol":"TCS","timeframe":"5min","indicators":["RSI_-1"]}',
            "invalid_parameter",
        ),
        (
            '{"type":"subscribe","symbol":"TCS","timeframe":"5min","indicators":["RSI_99999999"]}',
            "invalid_parameter",
        ),
        (
            '{"type":"subscribe","symbol":"TCS","timeframe":"5min",'
            '"indicators":{"RSI_14":{"name":"RSI","params":{"length":21}}}}',
            "invalid_parameter",
        ),
        ('{"type":"subscribe","symbol":"TCS","timeframe":"5min","history":99999}', "limit_exceeded"),
        ('{"type":"subscribe","symbol":"TCS","timeframe":"5min","what":1}', "invalid_message"),
    ],
)
async def test_bad_input_is_answered_and_closes_nothing(live_stack, message, code):
    tab = await Tab.open(live_stack)
    await tab.socket.send(message)
    error = await tab.next("error")
    assert error["code"] == code
    assert error["message"]
    assert error["retryable"] is False
    await tab.send(type="heartbeat", id=9)
    assert (await tab.next("heartbeat_ack"))["id"] == 9
    await tab.send(type="list")
    assert (await tab.next("subscriptions"))["subscriptions"] == []
    await tab.close()


async def test_one_unknown_indicator_refuses_the_whole_subscription(live_stack):
    tab = await Tab.open(live_stack)
    await tab.send(type="subscribe", symbol="TCS", timeframe="5min", indicators=["RSI_14", "NOPE"])
    await tab.next("error")
    await tab.send(type="list")
    assert (await tab.next("subscriptions"))["subscriptions"] == []
    await tab.close()


@pytest.mark.parametrize("query", ["", "token=nonsense", "ticket=nonsense", "token="])
async def test_a_socket_without_valid_credentials_is_closed_with_4501(live_stack, query):
    socket = await connect(f"{live_stack.ws_url}/ws/indicators?{query}")
    await asyncio.wait_for(socket.wait_closed(), PATIENCE_S)
    assert socket.close_code == 4501


async def test_a_foreign_origin_is_refused_and_our_own_is_not(live_stack):
    token = await token_of(live_stack)
    address = f"{live_stack.ws_url}/ws/indicators?token={token}"
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{live_stack.port}",
        "http://127.0.0.1:1",
    ):
        socket = await connect(address, origin=origin)
        await asyncio.wait_for(socket.wait_closed(), PATIENCE_S)
        assert socket.close_code == 4503, origin
    socket = await connect(address, origin=live_stack.url)
    assert '"connected"' in await asyncio.wait_for(socket.recv(), PATIENCE_S)
    await socket.close()


async def test_a_ticket_opens_one_socket(live_stack):
    token = await token_of(live_stack)
    async with httpx.AsyncClient(
        base_url=live_stack.url, timeout=PATIENCE_S, headers={"Authorization": f"Bearer {token}"}
    ) as http:
        ticket = (await http.post("/auth/ws-ticket")).json()["ticket"]
    address = f"{live_stack.ws_url}/ws/indicators?ticket={ticket}"
    first = await connect(address)
    assert '"connected"' in await first.recv()
    second = await connect(address)
    await asyncio.wait_for(second.wait_closed(), PATIENCE_S)
    assert second.close_code == 4501
    await first.close()
    assert ticket not in live_stack.log
    assert token not in live_stack.log


async def test_a_token_is_accepted_as_subprotocol(live_stack):
    token = await token_of(live_stack)
    socket = await connect(f"{live_stack.ws_url}/ws/indicators", subprotocols=["bearer", token])
    assert socket.subprotocol == "bearer"
    assert '"connected"' in await socket.recv()
    await socket.close()


async def test_a_second_socket_of_a_session_replaces_the_first(live_stack):
    token = await token_of(live_stack)
    session_id = str(uuid.uuid4())
    first = await Tab.open(live_stack, token, session_id)
    await first.subscribe("TCS", "5min", ["SMA_20"])
    second = await Tab.open(live_stack, token, session_id)
    assert second.messages[0]["retained"] == [
        {"symbol": "TCS", "timeframe": "5min", "indicators": ["SMA_20"]}
    ]
    assert await first.closed() == 4510
    await second.subscribe("TCS", "5min", ["SMA_20"])
    assert len(await updates(second, "TCS", "5min", 2)) == 2
    await second.close()


async def test_a_dropped_socket_keeps_its_session_and_a_closed_one_does_not(live_stack):
    token = await token_of(live_stack)
    session_id = str(uuid.uuid4())
    tab = await Tab.open(live_stack, token, session_id)
    _, snapshot = await tab.subscribe("TCS", "1min", ["SMA_20"], history=10)
    last = snapshot["history"]["bars"][-1][0]
    tab.socket.transport.abort()
    again = await Tab.open(live_stack, token, session_id)
    assert again.messages[0]["retained"] == [{"symbol": "TCS", "timeframe": "1min", "indicators": ["SMA_20"]}]
    _, snapshot = await again.subscribe("TCS", "1min", ["SMA_20"], since_bar=last - 5 * 60_000)
    assert [bar[0] for bar in snapshot["history"]["bars"]][:5] == [last - n * 60_000 for n in (4, 3, 2, 1, 0)]
    assert snapshot["history"]["complete"] is True
    await again.close(1000)
    headers = {"Authorization": f"Bearer {token}", "X-Session-ID": session_id}
    async with httpx.AsyncClient(base_url=live_stack.url, timeout=PATIENCE_S, headers=headers) as http:

        async def ended() -> bool:
            return not (await http.get("/indicators/subscriptions")).json()["subscriptions"]

        await aeventually(ended, what="the closed session has nothing")
    third = await Tab.open(live_stack, token, session_id)
    assert third.messages[0]["retained"] == []
    await third.close()


async def test_logging_out_closes_the_sockets_and_refuses_the_token(live_stack):
    signed = await sign_in(live_stack)
    tab = await Tab.open(live_stack, signed["access"])
    await tab.subscribe("TCS", "1min", ["SMA_20"])
    async with httpx.AsyncClient(
        base_url=live_stack.url, timeout=PATIENCE_S, headers={"Authorization": f"Bearer {signed['access']}"}
    ) as http:
        assert (await http.post("/auth/logout", json={})).status_code == 204
        assert (await http.get("/indicators/subscriptions")).status_code == 401
    assert await tab.closed() == 4508


async def burst(tab, count):
    for n in range(count):
        await tab.send(type="heartbeat", id=n)


async def test_a_large_message_and_too_many_messages_close_the_socket(live_stack):
    tab = await Tab.open(live_stack)
    await tab.socket.send("x" * 70_000)
    assert await tab.closed() == 4513
    tab = await Tab.open(live_stack)
    replies = []
    while "error" not in [each["type"] for each in replies]:
        await burst(tab, 120)
        replies = [await tab.receive() for _ in range(120)]
    assert {each["code"] for each in replies if each["type"] == "error"} == {"rate_limited"}
    code = None
    while code is None:
        await burst(tab, 400)
        with contextlib.suppress(TimeoutError):
            code = await tab.closed(3)
    assert code == 4029


async def test_another_users_session_is_not_visible(live_stack):
    session_id = str(uuid.uuid4())
    demo = await Tab.open(live_stack, session_id=session_id)
    await demo.subscribe("TCS", "1min", ["SMA_20"])
    admin = await Tab.open(live_stack, await token_of(live_stack, "admin"), session_id)
    assert admin.messages[0]["retained"] == []
    assert len(await updates(demo, "TCS", "1min", 2)) == 2
    await demo.close()
    await admin.close()


async def test_changes_over_rest_reach_the_open_socket(live_stack):
    signed = await sign_in(live_stack)
    tab = await Tab.open(live_stack, signed["access"])
    await tab.subscribe("TCS", "1min", ["SMA_20"])
    headers = {"Authorization": f"Bearer {signed['access']}", "X-Session-ID": tab.session_id}
    async with httpx.AsyncClient(base_url=live_stack.url, timeout=PATIENCE_S, headers=headers) as http:
        body = {"symbol": "TCS", "timeframe": "1min", "indicators": ["EMA_9"]}
        assert (await http.post("/indicators/subscribe", json=body)).status_code == 200
        await tab.next("snapshot", lambda m: set(m["indicators"]) == {"SMA_20", "EMA_9"})
        body["indicators"] = ["SMA_20"]
        assert (await http.post("/indicators/unsubscribe", json=body)).status_code == 200
        await tab.next("market_update", lambda m: set(m["indicators"]) == {"EMA_9"})
        data = (await http.get("/indicators/data/TCS", params={"timeframe": "1min"})).json()
        assert set(data["indicators"]) == {"EMA_9"}
    await tab.close()
