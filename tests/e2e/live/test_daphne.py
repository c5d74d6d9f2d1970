"""Daphne as a second web process: it serves a tab as uvicorn does."""

import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest

from bench.harness import answers
from tests.conftest import eventually
from tests.e2e.stack import ROOT, free_port
from tests.e2e.tabs import Tab, check_order, sign_in

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def daphne(live_stack):
    """One more web process of the running server; ``url``, ``ws_url``."""
    port = free_port()
    command = [sys.executable, "-m", "stocksblitz.server.daphne", "-b", "127.0.0.1", "-p", str(port)]
    log = live_stack.folder / "daphne.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "stocksblitz.asgi:application"],
            cwd=ROOT, env=live_stack.env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        eventually(lambda: answers(port) or process.poll() is not None, what="Daphne answers")
        assert process.poll() is None, log.read_text(errors="replace")
        yield SimpleNamespace(
            url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}", tokens=live_stack.tokens
        )
    finally:
        process.terminate()
        process.wait(30)


async def test_a_tab_subscribes_is_sent_its_own_and_unsubscribes(daphne):
    tab = await Tab.open(daphne)
    reply, snapshot = await tab.subscribe("BTCUSD", "1min", ["RSI_14", "SMA_20"], history=5)
    assert reply["indicators"] == ["RSI_14", "SMA_20"]
    assert len(snapshot["history"]["bars"]) == 5
    await tab.subscribe("ETHUSD", "1min", [])
    for _ in range(5):
        frame = await tab.next("market_update", lambda m: m["symbol"] == "BTCUSD")
        assert set(frame["indicators"]) == {"RSI_14", "SMA_20"}
    await tab.send(type="unsubscribe", id="some", symbol="BTCUSD", timeframe="1min", indicators=["SMA_20"])
    assert (await tab.next("unsubscribed"))["indicators"] == ["RSI_14"]
    frame = await tab.next("market_update", lambda m: m["symbol"] == "BTCUSD")
    assert set(frame["indicators"]) == {"RSI_14"}
    await tab.send(type="unsubscribe", id="all", symbol="BTCUSD")
    await tab.next("unsubscribed", lambda m: m["id"] == "all")
    seen = len(tab.messages)
    for _ in range(5):
        await tab.next("market_update", lambda m: m["symbol"] == "ETHUSD")
    assert {message["symbol"] for message in tab.messages[seen:]} == {"ETHUSD"}
    check_order(tab.messages, "ETHUSD", "1min")
    await tab.close()


async def test_two_tabs_of_one_user_have_their_own_on_both_servers(daphne, live_stack):
    """One on Daphne, one on uvicorn: the same frames, each with what its tab asked for."""
    here, there = await Tab.open(daphne), await Tab.open(live_stack)
    mine = {here: {"EMA_9"}, there: {"EMA_9", "EMA_21"}}
    for tab, ids in mine.items():
        await tab.subscribe("BTCUSD", "5min", sorted(ids))
    for tab, ids in mine.items():
        for _ in range(5):
            assert set((await tab.next("market_update"))["indicators"]) == ids
        check_order(tab.messages, "BTCUSD", "5min")
    await here.close()
    await there.close()


@pytest.mark.parametrize("through", ["daphne", "live_stack"])
async def test_logout_closes_the_socket_whichever_process_it_reaches(daphne, request, through):
    server = request.getfixturevalue(through)
    login = await sign_in(daphne)
    tab = await Tab.open(daphne, login["access"])
    await tab.subscribe("BTCUSD", "1min", ["RSI_14"])
    async with httpx.AsyncClient(base_url=server.url) as http:
        headers = {"Authorization": f"Bearer {login['access']}"}
        answer = await http.post("/auth/logout", json={"session_id": tab.session_id}, headers=headers)
        assert answer.status_code == 204
    assert await tab.closed() == 4508


async def test_a_second_socket_of_the_session_on_the_other_server_replaces_the_first(daphne, live_stack):
    first = await Tab.open(daphne)
    await first.subscribe("BTCUSD", "1min", ["RSI_14"])
    second = await Tab.open(live_stack, session_id=first.session_id)
    retained = second.messages[0]["retained"]
    assert retained == [{"symbol": "BTCUSD", "timeframe": "1min", "indicators": ["RSI_14"]}]
    assert await first.closed() == 4510
    await second.close()
