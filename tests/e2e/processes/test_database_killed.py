"""PostgreSQL killed with -9 and started again beneath the running server: what was acknowledged is there."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field

import httpx
import psycopg
import pytest

from tests.conftest import aeventually
from tests.e2e.tabs import Tab, check_order, token_of
from tests.postgres import running  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@dataclass
class Subscriber:
    """Subscribes without an end and keeps what was acknowledged: (session, indicator)."""

    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    refused: int = 0
    slowest_s: float = 0.0

    async def over_rest(self, stack, token):
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=stack.url, timeout=60, headers=headers) as http:
            while True:
                session, began = str(uuid.uuid4()), time.monotonic()
                ids = ["SMA_10", "EMA_20"]
                body = {"symbol": "EURUSD", "timeframe": "5min", "indicators": ids}
                reply = await http.post("/indicators/subscribe", json=body, headers={"X-Session-ID": session})
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self._note(reply.status_code, session, ids, reply.text)
                await asyncio.sleep(0.05)  # pace of the load

    async def over_a_socket(self, tab):
        length = 1
        while True:
            length = length % 40 + 1
            indicator = f"SMA_{length + 1}"
            await tab.send(
                type="subscribe", id=indicator, symbol="BTCUSD", timeframe="5min", indicators=[indicator]
            )
            reply = await tab.next({"subscribed", "error"}, timeout=60)
            assert reply["id"] == indicator
            status = 200 if reply["type"] == "subscribed" else 503 if reply["retryable"] else 500
            self._note(status, tab.session_id, [indicator], str(reply))
            await asyncio.sleep(0.1)  # pace of the load

    def _note(self, status, session, ids, text):
        assert status in (200, 503), text
        if status == 200:
            self.acknowledged |= {(session, each) for each in ids}
        else:
            self.refused += 1


def stored(postgres):
    """(session, indicator) of every subscription in the database."""
    with psycopg.connect(postgres.url) as line:
        query = """SELECT s.session_id::text, i.indicator FROM indicators_subscription i
                   JOIN indicators_session s ON s.id = i.session_id"""
        return set(line.execute(query).fetchall())


async def test_no_acknowledged_subscription_is_lost_and_streams_go_on(stack, postgres):
    server = await asyncio.to_thread(stack(DATABASE_URL=postgres.url).start().wait_ready)
    token = await token_of(server)
    before = server.pids()
    watching, adding = [await Tab.open(server, token) for _ in range(2)]
    await watching.subscribe("BTCUSD", "1min", ["SMA_20"])
    await watching.next("market_update")
    rest, socket = Subscriber(), Subscriber()
    writers = [asyncio.create_task(rest.over_rest(server, token)) for _ in range(4)]
    writers.append(asyncio.create_task(socket.over_a_socket(adding)))

    async def more(count):
        wanted = [len(each.acknowledged) + count for each in (rest, socket)]
        await aeventually(
            lambda: (
                any(w.done() for w in writers)
                or all(len(e.acknowledged) >= n for e, n in zip((rest, socket), wanted, strict=True))
            ),
            60,
            "subscriptions are acknowledged",
        )

    for pause in (1.0, 8.0):
        await more(8)
        postgres.kill()
        killed = time.monotonic()
        refused = rest.refused
        while time.monotonic() - killed < pause or rest.refused == refused:
            await watching.next("market_update")  # prices and values need no database
        await asyncio.to_thread(postgres.start)
        back = time.monotonic()
        await more(1)
        print(
            f"acknowledged again {time.monotonic() - back:.1f} s after the start; slowest {rest.slowest_s:.1f} s"
        )
    for each in writers:
        if not each.done():
            each.cancel()
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert [each for each in outcomes if not isinstance(each, asyncio.CancelledError)] == []
    print(len(rest.acknowledged), rest.refused, len(socket.acknowledged), socket.refused)
    assert rest.acknowledged | socket.acknowledged <= stored(postgres)
    wanted = {indicator for _, indicator in socket.acknowledged}
    await adding.next("market_update", lambda m: wanted <= m["indicators"].keys())
    await watching.next("market_update")
    check_order(watching.messages, "BTCUSD", "1min")
    for tab in (watching, adding):
        await tab.close()
    assert server.pids() == before, server.tail()
