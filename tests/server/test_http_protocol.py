"""Requests over HTTP are bounded while they are read: in size and in time, on every route."""

import asyncio
import socket
import threading

import pytest

from tests.server.running import exchange, received, serving

POST = b"POST /any HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /any HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """An application that answers how long the body was, and keeps what it was told."""

    def __init__(self):
        self.lengths = []
        self.disconnects = 0

    async def __call__(self, scope, receive, send):
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            length += len(message["body"])
            more = message["more_body"]
        self.lengths.append(length)
        text = f"length {length}".encode()
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture(autouse=True)
def bounds(settings):
    settings.REST_MAX_BODY = 100_000
    settings.REQUEST_TIMEOUT = 30


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def ask(port, *parts, until=b""):
    return await asyncio.to_thread(exchange, port, *parts, until=until)


async def test_a_body_within_the_bound_arrives_however_it_is_sent(echo):
    body = b"a" * 100_000
    close = b"Connection: close\r\n"
    async with serving(echo) as port:
        assert b"length 100000" in await ask(port, POST + close + b"Content-Length: 100000\r\n\r\n", body)
        chunks = [POST + close + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(b"a")] * 5_000, b"0\r\n\r\n"]
        assert b"length 5000" in await ask(port, b"".join(chunks))
        both = POST + b"Content-Length: 3\r\n\r\nabc" + GET
        answer = await ask(port, both, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_is_announced_too_large_is_refused_unread(echo, expect):
    async with serving(echo) as port:
        answer = await ask(port, POST + expect + b"Content-Length: 100001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer
    assert echo.lengths == []


async def test_a_body_that_grows_too_large_is_refused_before_it_has_ended(echo):
    async with serving(echo) as port:
        answer = await ask(port, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(b"a" * 60_000)] * 500)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert (echo.lengths, echo.disconnects) == ([], 1)


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;long=", b"413"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: ", b"413"),
    ],
    ids=["header", "chunk extension", "trailer"],
)
async def test_what_surrounds_a_body_is_bounded_too(echo, first, status):
    async with serving(echo) as port:
        answer = await ask(port, first, *[b"a" * 65_536] * 100)
    assert answer.split()[1] == status
    assert echo.lengths == []


async def test_trailers_are_dropped(echo):
    scopes = []

    async def watching(scope, receive, send):
        await echo(scope, receive, send)
        scopes.append(scope)

    async with serving(watching) as port:
        head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b"length 1" in await ask(port, head + chunk(b"a") + b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    assert b"x-forwarded-for" not in dict(scopes[0]["headers"])


@pytest.mark.parametrize(
    ("first", "drip", "answer"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Half", b"", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", b"a", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 1000\r\n\r\nabc", b"", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 1000\r\n\r\nabc", b"a", b"HTTP/1.1 408 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"HTTP/1.1 408 "),
    ],
    ids=["silent", "blank lines", "half head", "slow head", "half body", "slow body", "slow chunks"],
)
async def test_a_request_that_does_not_arrive_in_time_is_cut(settings, echo, first, drip, answer):
    settings.REQUEST_TIMEOUT = 0.3
    async with serving(echo) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(first)
            ended = threading.Event()

            def dripping():
                while not ended.wait(0.02):
                    peer.send(drip)

            dripper = threading.Thread(target=dripping)
            dripper.start()
            try:
                got = await asyncio.to_thread(received, peer)
            finally:
                ended.set()
                dripper.join()
    assert got.startswith(answer)
    assert bool(got) == bool(answer)
    assert echo.lengths == []


async def test_blank_lines_do_not_keep_a_connection_open_between_requests(settings, echo):
    settings.REQUEST_TIMEOUT = 0.3
    async with serving(echo) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(GET)
            await asyncio.to_thread(received, peer, b"length 0")
            peer.sendall(b"\r\n")  # it ends the time-out of the keep-alive
            assert await asyncio.to_thread(received, peer) == b""


async def test_a_response_that_takes_long_is_not_cut(settings, echo):
    settings.REQUEST_TIMEOUT = 0.1

    async def slow(scope, receive, send):
        await asyncio.sleep(0.5)  # several time-outs long: what is slow here is the server
        await echo(scope, receive, send)

    async with serving(slow) as port:
        request = POST + b"Connection: close\r\nContent-Length: 90000\r\n\r\n" + b"a" * 90_000
        assert b"length 90000" in await ask(port, request)


async def test_a_late_second_request_gets_no_answer_before_the_first(settings, echo):
    settings.REQUEST_TIMEOUT = 0.2

    async def never(scope, receive, send):
        await asyncio.Event().wait()

    async with serving(never, timeout_graceful_shutdown=0) as port:
        assert await ask(port, GET + b"GET / HTTP/1.1\r\n") == b""


async def test_a_response_that_nobody_reads_is_dropped(settings):
    settings.REQUEST_TIMEOUT = 0.3
    ended = asyncio.Event()

    async def much(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
        ended.set()

    async with serving(much) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(GET)
            await asyncio.wait_for(ended.wait(), 20)
