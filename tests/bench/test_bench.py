"""Test the tools of the benchmarks, whose counts and reports every figure depends on."""

import asyncio
import json

import pytest

from bench.__main__ import main, names
from bench.load.frames import FakeStream
from bench.load.http_clients import Connection
from bench.load.playback import forming, walk
from bench.load.sockets import Crowd, Socket
from bench.report import Report, holds, percentile
from stocksblitz.delivery.frames import Frame, View
from stocksblitz.delivery.messages import text_frame

HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
PAYLOADS = [b"x" * size for size in (1, 125, 126, 600, 65_535, 65_536)]


class Sink:
    """Transport that keeps the bytes that a client writes."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 4096, 10**6])
async def test_a_socket_counts_messages_in_pieces_of_any_size(piece: int) -> None:
    received: list[bytes] = []
    crowd = Crowd()
    socket = Socket(0, "/", crowd, lambda _, payload: received.append(payload))
    socket.connection_made(Sink())  # type: ignore[arg-type]  # the socket only writes to its transport
    data = HANDSHAKE + b"".join(map(text_frame, PAYLOADS))
    for at in range(0, len(data), piece):
        socket.data_received(data[at : at + piece])
    assert received == PAYLOADS
    assert socket.messages == crowd.received == len(PAYLOADS)


async def test_a_socket_answers_a_ping_and_a_close_and_records_the_close_code() -> None:
    socket, sink = Socket(0, "/", Crowd()), Sink()
    socket.connection_made(sink)  # type: ignore[arg-type]  # the socket only writes to its transport
    socket.data_received(HANDSHAKE)
    sink.written = b""
    socket.data_received(b"\x89\x02hi\x88\x02" + (4008).to_bytes(2))
    assert sink.written == b"\x8a\x82\0\0\0\0hi" + b"\x88\x82\0\0\0\0" + (4008).to_bytes(2)
    assert socket.closed == 4008
    assert socket.messages == 0


async def test_a_crowd_reports_how_many_messages_arrived_before_a_time_out() -> None:
    crowd = Crowd()
    crowd.count(3)
    with pytest.raises(TimeoutError, match="3 of 4"):
        await crowd.until(4, 0.01)
    waiting = asyncio.create_task(crowd.until(4, 5))
    await asyncio.sleep(0)
    crowd.count(1)
    await waiting


@pytest.mark.parametrize("piece", [1, 5, 1000])
async def test_a_connection_reads_a_response_by_its_content_length(piece: int) -> None:
    connection = Connection()
    connection.connection_made(Sink())  # type: ignore[arg-type]  # the connection only writes to its transport
    request = asyncio.create_task(connection.request(b""))
    await asyncio.sleep(0)
    data = b'HTTP/1.1 404 Not Found\r\nX-Cache: miss\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    for at in range(0, len(data), piece):
        connection.data_received(data[at : at + piece])
    answer = await request
    assert (answer.status, answer.header("x-cache"), answer.body) == (404, "miss", b'{"a": 1}')


def test_a_report_prints_one_json_line_per_figure_with_the_ratio_to_its_baseline(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report()
    report("ours (vs theirs)", 2.0, "µs", baseline=8.0, target="<= 0.2")
    report("alone", 0.0123456, "s")
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in out] == [
        {"name": "ours (vs theirs)", "value": 2.0, "unit": "µs", "baseline": 8.0, "ratio": 0.25},
        {"name": "alone", "value": 0.01235, "unit": "s", "baseline": None, "ratio": None},
    ]
    assert report.missed == ["ours (vs theirs)"]


def test_a_target_is_an_inclusive_or_exclusive_bound() -> None:
    assert holds(1.0, "<= 1")
    assert not holds(1.0, "< 1")
    assert holds(500.0, ">= 500")
    assert not holds(10.0, "> 10")


def test_a_percentile_is_the_next_higher_value() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (
        51.0,
        100.0,
        100.0,
    )


def test_the_hub_reads_a_fake_frame_and_its_message_has_about_600_bytes() -> None:
    ids = ["SMA_10", "SMA_11", "SMA_12"]
    stream = FakeStream("ONE", "5min", ids)
    first, second = Frame(stream.next()), Frame(stream.next())
    assert (first.seq, second.seq, first.closed) == (1, 2, False)
    assert 550 <= len(second.message(View({id_: id_ for id_ in ids}))) <= 650


def test_playback_bars_depend_on_the_seed_and_the_forming_bar_follows_the_last_one() -> None:
    bars = walk(3, 50, 0)
    assert bars == walk(3, 50, 0)
    assert bars != walk(4, 50, 0)
    assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
    assert next(forming(bars)).ts == bars[-1].ts + 60_000


def test_benchmarks_are_found_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert names()[:2] == ["fanout", "compute"]
    assert {"connections", "latency", "reuse", "rest"} <= set(names())
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == names()
    with pytest.raises(SystemExit):
        main(["no-such-benchmark"])
