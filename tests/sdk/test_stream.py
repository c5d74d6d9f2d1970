"""The stream of the SDK: what it delivers, and how it reconnects."""

import asyncio
import gc
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from stocksblitz_sdk import MACD, RSI, Client, Indicator, StocksBlitzError, StreamClosed, connection, stream

from tests.conftest import PATIENCE_S, aeventually
from tests.sdk.server import BAR_MS, Server, frame, history, snapshot


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(stream, "RETRY_S", 0.01)


def client(server, **options):
    return Client(server.url, **(options or {"api_key": "k.secret"}))


async def take(updates, count):
    return [await asyncio.wait_for(updates.__anext__(), PATIENCE_S) for _ in range(count)]


def bars(updates):
    return [(each.bar.ts // BAR_MS, each.bar.close, each.bar.closed) for each in updates]


async def test_a_stream_subscribes_and_delivers_updates():
    async def act(talk):
        request = await talk.subscribed(
            snapshot(3, 3.0, bars=[(1, 1.0), (2, 2.0)]),
            frame(3, 3.5, seq=2),
            frame(3, 3.7, seq=3, closed=True),
        )
        assert request["indicators"] == ["RSI_14", "MACD_12_26_9"]
        assert request["history"] == 2

    async with (
        Server(act) as server,
        client(server).stream("ACME", "5min", [RSI(14), MACD()], history=2) as updates,
    ):
        first, *others = await take(updates, 3)
        assert bars([first, *others]) == [(3, 3.0, False), (3, 3.5, False), (3, 3.7, True)]
        assert [bar.close for bar in first.history.bars] == [1.0, 2.0]
        assert first.history.indicators == {"RSI_14": [1.0, 2.0]}
        assert others[0].history is None
        assert others[1]["RSI_14"] == others[1][RSI(14)] == 3.7
        with pytest.raises(KeyError):
            first[RSI(15)]
        talk = server.talks[0]
        assert uuid.UUID(talk.query["session_id"][0])
        assert list(talk.query) == ["session_id"], "no credentials in the address"
        assert talk.headers["Authorization"] == "Api-Key k.secret"
    assert server.closed == [1000], "the end of the block ends the session"


async def test_after_a_lost_connection_each_closed_bar_comes_once_and_in_order():
    async def first(talk):
        await talk.subscribed(snapshot(3, 3.0), frame(3, 3.5, seq=2, closed=True), frame(4, 4.0, seq=3))
        talk.socket.transport.abort()

    async def second(talk):
        request = await talk.subscribed(
            snapshot(7, 7.0, bars=[(4, 4.5), (5, 5.5), (6, 6.5)], seq=90), frame(7, 7.5, seq=91, closed=True)
        )
        assert request["since_bar"] == 4 * BAR_MS - 1, "all before the bar that formed"
        assert "history" not in request

    async with Server(first, second) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        got = await take(updates, 8)
        assert bars(got) == [
            (3, 3.0, False), (3, 3.5, True), (4, 4.0, False),
            (4, 4.5, True), (5, 5.5, True), (6, 6.5, True), (7, 7.0, False), (7, 7.5, True),
        ]  # fmt: skip
        assert [each.replayed for each in got] == [False] * 3 + [True] * 3 + [False] * 2
        assert got[3]["RSI_14"] == 4.5
        assert updates.reconnects == 1
        assert server.talks[0].query == server.talks[1].query, "it is the same session"


async def test_bars_that_a_snapshot_does_not_hold_are_read_page_by_page():
    async def first(talk):
        await talk.subscribed(snapshot(2, 2.0), frame(2, 2.5, seq=2, closed=True))
        talk.socket.transport.abort()

    async def second(talk):
        await talk.subscribed(snapshot(8, 8.0, bars=[(6, 6.5), (7, 7.5)], complete=False, seq=90))

    pages = [history([(4, 4.5), (5, 5.5)], complete=False), history([(1, 1.5), (2, 2.5), (3, 3.5)])]
    async with (
        Server(first, second, pages=pages) as server,
        client(server).stream("ACME", "5min", ["RSI_14"]) as updates,
    ):
        got = await take(updates, 8)
        assert bars(got)[2:] == [*[(ts, ts + 0.5, True) for ts in range(3, 8)], (8, 8.0, False)]
        assert [query["before"] for _, query in server.asked] == [[str(6 * BAR_MS)], [str(4 * BAR_MS)]]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4000, 4008, 4029])
async def test_the_stream_reconnects_after_close_code(code):
    async def first(talk):
        await talk.subscribed(snapshot(3, 3.0))
        await talk.socket.close(code, "restart jitter_ms=20" if code == 1012 else "")

    async def second(talk):
        await talk.subscribed(snapshot(3, 3.3, seq=2))

    async with Server(first, second) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        assert bars(await take(updates, 2)) == [(3, 3.0, False), (3, 3.3, False)]


@pytest.mark.parametrize("code", [4501, 4503, 4508, 4509, 4510, 4513])
async def test_the_stream_ends_after_close_code(code):
    async def act(talk):
        await talk.subscribed(snapshot(3, 3.0))
        await talk.socket.close(code, "why")

    async with Server(act) as server:
        updates = client(server).stream("ACME", "5min", ["RSI_14"])
        await take(updates, 1)
        with pytest.raises(StreamClosed) as raised:
            await take(updates, 1)
        assert raised.value.close_code == code
        assert [each async for each in updates] == []
        assert len(server.talks) == 1


async def test_an_expired_token_is_renewed_once():
    tokens = iter(["old", "new", "newer"])

    async def refused(talk):
        assert talk.headers["Authorization"] == "Bearer old"
        await talk.socket.close(4501, "expired")

    async def accepted(talk):
        assert talk.headers["Authorization"] == "Bearer new"
        await talk.subscribed(snapshot(3, 3.0))

    async with Server(refused, accepted) as server:
        await take(client(server, token=lambda: next(tokens)).stream("ACME", "5min", ["RSI_14"]), 1)

    async def never(talk):
        await talk.socket.close(4501, "expired")

    async with Server(never) as server:
        with pytest.raises(StreamClosed):
            await take(client(server, token=lambda: "bad").stream("ACME", "5min", ["RSI_14"]), 1)
        assert len(server.talks) == 2


async def test_a_token_is_renewed_on_the_socket_before_it_expires():
    tokens = iter(["old", "new"])
    soon = (
        (datetime.now(UTC) + timedelta(seconds=30)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    said = []

    async def act(talk):
        await talk.greet(heartbeat_ms=60, expires_at=soon)
        await talk.join(snapshot(3, 3.0))
        said.append(await talk.hear("authenticate"))
        await talk.say(
            {"type": "authenticated", "expires_at": "2126-11-20T00:00:00.000Z"}, frame(3, 3.1, seq=2)
        )
        for _ in range(3):
            said.append(await talk.hear())
        await talk.say(frame(3, 3.2, seq=3))

    async with Server(act) as server:
        await take(client(server, token=lambda: next(tokens)).stream("ACME", "5min", ["RSI_14"]), 3)
    assert said[0]["token"] == "new"
    assert {each["type"] for each in said[1:]} == {"heartbeat"}


async def test_a_gap_in_the_sequence_without_lagged_is_repaired():
    async def act(talk):
        await talk.subscribed(snapshot(3, 3.0, seq=1), frame(4, 4.2, seq=4))
        request = await talk.join(
            frame(4, 4.3, seq=5), snapshot(4, 4.4, bars=[(3, 3.9)], seq=6), frame(4, 4.5, seq=7)
        )
        assert request["since_bar"] == 3 * BAR_MS - 1

    async with Server(act) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        assert bars(await take(updates, 4)) == [
            (3, 3.0, False),
            (3, 3.9, True),
            (4, 4.4, False),
            (4, 4.5, False),
        ]


async def test_frames_named_by_lagged_are_not_a_gap():
    async def act(talk):
        await talk.subscribed(snapshot(3, 3.0, seq=1))
        await talk.say(
            {"type": "lagged", "symbol": "ACME", "timeframe": "5min", "from_seq": 2, "to_seq": 5},
            frame(3, 3.1, seq=6),
            frame(3, 3.1, seq=6),
            frame(3, 3.2, seq=7),
        )

    async with Server(act) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        assert bars(await take(updates, 3)) == [(3, 3.0, False), (3, 3.1, False), (3, 3.2, False)]
        assert updates.lagged == 4
        assert len(server.talks[0].heard) == 1


async def test_a_new_epochs_snapshot_continues_the_old_one():
    async def act(talk):
        await talk.subscribed(
            snapshot(3, 3.0, seq=8), snapshot(5, 5.0, bars=[(3, 3.9), (4, 4.9)], epoch="e2", seq=1)
        )
        await talk.say(frame(5, 5.1, epoch="e2", seq=2))

    async with Server(act) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        assert bars(await take(updates, 5)) == [
            (3, 3.0, False), (3, 3.9, True), (4, 4.9, True), (5, 5.0, False), (5, 5.1, False),
        ]  # fmt: skip


async def test_heartbeats_are_sent_and_a_dead_connection_is_replaced(monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_S", 0.2)

    async def silent(talk):
        await talk.greet(heartbeat_ms=60)
        await talk.join(snapshot(3, 3.0))
        assert (await talk.hear())["type"] == "heartbeat"

    async def second(talk):
        await talk.subscribed(snapshot(3, 3.1, seq=2))

    async with Server(silent, second) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        assert bars(await take(updates, 2)) == [(3, 3.0, False), (3, 3.1, False)]


async def test_a_refused_subscription_raises_and_a_retryable_refusal_is_retried():
    async def refuses(talk):
        await talk.greet()
        request = await talk.hear("subscribe")
        error = {
            "type": "error",
            "id": request["id"],
            "code": "unavailable",
            "message": "soon",
            "retryable": True,
        }
        await talk.say(error)
        again = await talk.join(snapshot(3, 3.0))
        assert again["id"] != request["id"]
        await talk.say(
            {"type": "error", "id": None, "code": "rate_limited", "message": "slow down", "retryable": True}
        )
        await talk.say(frame(3, 3.1, seq=2))

    async def unknown(talk):
        await talk.greet()
        request = await talk.hear("subscribe")
        await talk.say(
            {
                "type": "error",
                "id": request["id"],
                "code": "unknown_symbol",
                "message": "no",
                "retryable": False,
            }
        )

    async with Server(refuses) as server, client(server).stream("ACME", "5min", ["RSI_14"]) as updates:
        await take(updates, 2)
    async with Server(unknown) as server:
        updates = client(server).stream("NOPE", "5min", ["RSI_14"])
        with pytest.raises(StocksBlitzError) as raised:
            await take(updates, 1)
        assert (raised.value.code, raised.value.retryable) == ("unknown_symbol", False)


async def test_several_streams_share_one_connection():
    async def act(talk):
        await talk.greet()
        await talk.join(snapshot(3, 3.0, symbol="ACME"))
        await talk.join(snapshot(3, 8.0, symbol="OTHER"))
        await talk.say(frame(3, 8.1, symbol="OTHER", seq=2), frame(3, 9.9, symbol="NOT_MINE", seq=2))
        await talk.say(frame(3, 3.1, symbol="ACME", seq=2))

    async with Server(act) as server:
        wants = [("ACME", "5min", ["RSI_14"]), ("OTHER", "5min", [])]
        async with client(server).streams(wants) as updates:
            got = await take(updates, 4)
            assert [(each.symbol, each.bar.close) for each in got] == [
                ("ACME", 3.0), ("OTHER", 8.0), ("OTHER", 8.1), ("ACME", 3.1),
            ]  # fmt: skip


async def test_a_garbage_collected_stream_is_closed():
    async def act(talk):
        await talk.subscribed(snapshot(3, 3.0))

    async def first_only(server):
        async for update in client(server).stream("ACME", "5min", ["RSI_14"]):
            return update

    async with Server(act) as server:
        assert (await first_only(server)).bar.close == 3.0
        gc.collect()
        await aeventually(lambda: server.closed == [1000])


async def test_a_stream_waits_for_a_server_that_starts_later():
    async def act(talk):
        await talk.subscribed(snapshot(3, 3.0))

    async with Server(act) as server:
        url = server.url
    port = int(url.rpartition(":")[2])
    updates = Client(url, api_key="k").stream("ACME", "5min", ["RSI_14"])
    waiting = asyncio.ensure_future(updates.__anext__())
    await aeventually(lambda: updates.reconnects >= 2)
    async with Server(act, port=port):
        assert (await asyncio.wait_for(waiting, PATIENCE_S)).bar.close == 3.0
        await updates.aclose()


def test_pauses_double_up_to_half_a_minute_and_are_random(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.5)
    for chance in (0.0, 1.0):
        pauses = [connection.backoff(attempt, lambda chance=chance: chance) for attempt in range(12)]
        assert pauses == sorted(pauses)
        assert pauses[0] == 0.25 + 0.25 * chance
        assert pauses[-1] == 15 + 15 * chance
    assert connection.restart_pause(1012, "restart jitter_ms=5000", lambda: 0.5) == 2.5
    assert connection.restart_pause(1012, "restart") is None
    assert connection.restart_pause(4000, "jitter_ms=5000") is None


def test_the_catalogue_gives_the_order_of_parameters():
    order = {"CCI": [{"name": "length", "default": 14}, {"name": "c", "default": 0.015}]}
    assert Indicator("CCI").id(order) == "CCI"
    assert Indicator("CCI", length=20).id(order) == "CCI_20"
    assert Indicator("CCI", c=0.02).id(order) == "CCI_14_0.02"
    with pytest.raises(ValueError, match="no parameter 'lenght'"):
        Indicator("CCI", lenght=20).id(order)
    with pytest.raises(ValueError, match="no indicator 'XYZ'"):
        Indicator("XYZ").id(order)
