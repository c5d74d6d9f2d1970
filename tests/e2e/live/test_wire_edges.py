"""The WebSocket against the real server: the answers to careless and hostile clients."""

import asyncio
import contextlib
import uuid

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.conftest import PATIENCE_S, aeventually
from tests.e2e.tabs import Tab, sign_in, token_of

pytestmark = pytest.mark.process


async def end_of(socket) -> tuple[int, str]:
    """How a socket was closed by the server, whatever it said before."""
    await asyncio.wait_for(socket.wait_closed(), PATIENCE_S)
    return socket.close_code, socket.close_reason


async def ask(tab, **message):
    await tab.send(id="q", **message)
    while True:
        answer = await tab.receive()
        if answer.get("id") == "q":
            return answer


async def test_a_returning_tab_replaces_its_own_socket_at_the_limit(live_stack):
    """With all of a user's places taken a new session is refused, and one that was there replaces its old socket."""
    token = await token_of(live_stack, "admin")
    tabs = [await Tab.open(live_stack, token) for _ in range(20)]
    try:
        async with connect(f"{live_stack.ws_url}/ws/indicators?token={token}") as one_more:
            assert (await end_of(one_more))[0] == 4509
        again = await Tab.open(live_stack, token, tabs[0].session_id)
        assert (await end_of(tabs[0].socket))[0] == 4510
        async with connect(f"{live_stack.ws_url}/ws/indicators?token={token}") as one_more:
            assert (await end_of(one_more))[0] == 4509
        tabs[0] = again
    finally:
        for tab in tabs:
            await tab.close()


async def test_an_invalid_session_id_is_refused_as_such_and_not_as_a_wrong_token(live_stack):
    token = await token_of(live_stack)
    for wrong in ("1", "%00", "me"):
        address = f"{live_stack.ws_url}/ws/indicators?token={token}&session_id={wrong}"
        async with connect(address) as socket:
            assert await end_of(socket) == (4503, "session_id is a UUID")


async def test_every_refusal_names_its_request(live_stack):
    """Also those beyond the rate: a client that sends ahead must know what to send again."""
    tab = await Tab.open(live_stack)
    for each in range(90):
        await tab.send(type="heartbeat", id=each)
    answers = [await tab.receive() for _ in range(90)]
    assert [answer["id"] for answer in answers] == list(range(90))
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert refused
    assert {(answer["code"], answer["retryable"]) for answer in refused} == {("rate_limited", True)}
    await tab.close()


@pytest.mark.parametrize(
    "message",
    [
        {"type": "list", "action": "list"},
        {"type": "heartbeat", "action": "ping"},
        {"type": "ping", "subscriptions": [{"symbol": "A", "timeframe": "1min", "indicator": "B", "x": 1}]},
        {"type": "unsubscribe", "history": 5},
    ],
)
async def test_an_unknown_field_is_refused_at_every_level(live_stack, message):
    tab = await Tab.open(live_stack)
    answer = await ask(tab, **message)
    assert (answer["type"], answer["code"]) == ("error", "invalid_message")
    await tab.close()


async def test_invalid_utf8_closes_the_socket_without_a_traceback(live_stack):
    tab = await Tab.open(live_stack)
    protocol = tab.socket.protocol
    protocol.send_text(b'{"type":"\xff\xfe"}')
    for data in protocol.data_to_send():
        tab.socket.transport.write(data)
    assert (await end_of(tab.socket))[0] == 1007
    assert "UnicodeDecodeError" not in live_stack.log


@pytest.mark.parametrize(("size", "code"), [(70_000, 4513), (2_000_000, 1009)])
async def test_a_message_that_is_too_large_closes_the_socket(live_stack, size, code):
    tab = await Tab.open(live_stack)
    with contextlib.suppress(ConnectionClosed):  # it may be closed before the last byte has left
        await tab.socket.send("x" * size)
    assert (await end_of(tab.socket))[0] == code


async def test_values_that_are_not_known_yet_are_null(live_stack):
    """A stream that nobody had so far may have no bar: its snapshot has no time either, and no 1970."""
    signed = await sign_in(live_stack)
    headers = {"Authorization": f"Bearer {signed['access']}"}
    async with httpx.AsyncClient(base_url=live_stack.url, headers=headers) as http:

        async def contracts():
            return (await http.get("/api/market/NIFTY50/chain")).json()["contracts"]

        chain = await aeventually(contracts, PATIENCE_S * 4, "the option chain")
    tab = await Tab.open(live_stack, signed["access"])
    _, snapshot = await tab.subscribe(chain[len(chain) // 3]["symbol"], "15min", ["RSI_14"])
    value = snapshot["indicators"]["RSI_14"]
    assert value["ts"] == (snapshot["ohlcv"] and snapshot["ohlcv"]["ts"])
    await tab.close()


async def test_a_subscription_over_rest_is_delivered_over_the_socket(live_stack):
    signed, session_id = await sign_in(live_stack), str(uuid.uuid4())
    tab = await Tab.open(live_stack, signed["access"], session_id)
    headers = {"Authorization": f"Bearer {signed['access']}", "X-Session-ID": session_id}
    pair = {"symbol": "BTCUSD", "timeframe": "1min"}
    async with httpx.AsyncClient(base_url=live_stack.url, headers=headers, timeout=PATIENCE_S) as http:
        await http.post("/indicators/subscribe", json={**pair, "indicators": ["EMA_9"]})
        snapshot = await tab.next("snapshot")
        assert set(snapshot["indicators"]) == {"EMA_9"}
        await http.post("/indicators/unsubscribe", json=pair)
    assert (await ask(tab, type="list"))["subscriptions"] == []
    assert not [message for message in tab.messages if message["type"] == "subscribed"]
    await tab.close()
