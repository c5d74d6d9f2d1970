"""The way out under a server other than ours: ASGI's ``send``, which waits for its connection or fails."""

import asyncio

import orjson
import pytest

from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.hub.stream import StreamState
from stocksblitz.delivery.messages import Close, text_frame
from stocksblitz.delivery.transports import ASGI_BACKLOG, AsgiTransport
from tests.conftest import aeventually
from tests.delivery.frames import STREAM, frame

SIZES = (1, 125, 126, 10_000, 65_535, 65_536)


class Server:
    """A server whose ``send`` waits for its client; ``sent`` is what it has taken, ``broken`` what it fails at."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent: list[str | int] = []
        self.broken: set[str] = set()

    async def send(self, message):
        what = message.get("text", message.get("code"))
        if not self.reads.is_set():
            await self.reads.wait()
        if what in self.broken:
            raise OSError("the server did not take it")
        self.sent.append(what)


@pytest.fixture
async def server():
    return Server()


@pytest.fixture
async def transport(server):
    """An transport that notes in ``events`` when it pauses and resumes."""
    made = AsgiTransport(server.send)
    made.events = []
    made.on_pause = lambda: made.events.append("pause")
    made.on_resume = lambda: made.events.append("resume")
    return made


async def test_where_send_does_not_wait_everything_goes_out_at_once(server, transport):
    texts = [str(size % 10) * size for size in SIZES]
    transport.write_all([text_frame(each.encode()) for each in texts])
    assert server.sent == texts
    assert transport.events == []


async def test_a_send_that_waits_pauses_at_the_backlog_and_resumes_in_order(server, transport):
    server.reads.clear()
    write = transport.writer()
    texts = [f"{n}".ljust(1000) for n in range(2 * ASGI_BACKLOG // 1000)]
    for each in texts:
        write(text_frame(each.encode()))
        if transport.blocked:
            break
    written = texts[: texts.index(each) + 1]
    assert ASGI_BACKLOG / 1000 <= len(written) < len(texts)
    assert (transport.events, server.sent) == (["pause"], [])
    server.reads.set()
    await aeventually(lambda: transport.events == ["pause", "resume"])
    write(text_frame(b"after"))
    assert server.sent == [*written, "after"]
    assert not transport.blocked


async def test_an_error_in_send_loses_nothing_else(server, transport):
    server.reads.clear()
    server.broken = {"0", "3", "7"}
    for n in range(6):
        transport.writer()(text_frame(b"%d" % n))
    server.reads.set()
    await aeventually(lambda: server.sent == ["1", "2", "4", "5"])
    for n in (6, 7, 8):  # now that nothing waits
        transport.writer()(text_frame(b"%d" % n))
    transport.finish(4508, "over")
    assert server.sent == ["1", "2", "4", "5", "6", "8", 4508]


async def test_the_close_comes_after_what_was_written_and_in_place_of_a_backlog(server, transport):
    server.reads.clear()
    transport.write_all([text_frame(b"first"), text_frame(b"second")])
    transport.finish(Close.SESSION_ENDED, "over")
    server.reads.set()
    await aeventually(lambda: server.sent == ["first", "second", 4508])
    assert type(server.sent[-1]) is int  # Daphne refuses a close code that is not
    slow = AsgiTransport(server.send)
    server.reads.clear()
    slow.write_all([text_frame(b"third"), text_frame(b"x" * ASGI_BACKLOG)])
    assert slow.blocked
    slow.finish(4008, "too slow")
    server.reads.set()
    await aeventually(lambda: server.sent[3:] == ["third", 4008])


async def test_a_session_behind_a_slow_send_gets_closed_bars_in_order_and_the_newest_forming_frame(server):
    """What the hub promises on uvicorn holds here too, as far as the server's ``send`` waits."""
    connection = Connection(
        user_id=1,
        session_id="s",
        ws_conn_id="ws",
        transport=AsgiTransport(server.send),
        max_backlog=1_000_000,
    )
    state = StreamState(STREAM)
    state.take(frame(0))
    state.enter(connection, {"RSI_14": "RSI_14"})
    server.reads.clear()
    for seq in range(1, 1001):
        closed = seq % 300 == 0
        state.take(frame(seq, ts=seq // 300 + 1, closed=closed, prev=(seq - 1) // 300 if seq > 300 else 0))
        connection.flush()
    assert connection.slow
    server.reads.set()
    await aeventually(lambda: connection.ready)
    at, closed = 0, []
    for message in map(orjson.loads, server.sent):
        if message["type"] == "lagged":
            assert message["from_seq"] == at + 1
            at = message["to_seq"]
            continue
        assert message["seq"] == at + 1
        at = message["seq"]
        closed += [at] if message["ohlcv"]["closed"] else []
    assert at == 1000
    assert closed == [300, 600, 900]
    assert len(server.sent) < 500
