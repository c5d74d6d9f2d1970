"""A scripted server: it plays one act of a test per connection."""

import asyncio
import contextlib
import json
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve

BAR_MS = 300_000


def frame(ts, close, *, closed=False, seq=1, epoch="e1", symbol="ACME", kind="market_update", **more):
    """Return a frame of a 5min stream whose RSI is its close."""
    return {
        "type": kind, "symbol": symbol, "timeframe": "5min", "timestamp": "2026-11-20T09:48:12.300Z",
        "epoch": epoch, "seq": seq,
        "ohlcv": {"ts": ts * BAR_MS, "open": 1.0, "high": 9.0, "low": 0.5, "close": close, "volume": 5, "closed": closed},
        "greeks": None, "oi": None,
        "indicators": {"RSI_14": {"ts": ts * BAR_MS, "value": close, "timeframe": "5min", "ready": True}},
        "source": "simulated", "stale": False, "a_field_of_the_future": 1, **more,
    }  # fmt: skip


def history(bars, *, complete=True):
    """Return the history of bars given as (ts, close)."""
    return {
        "bars": [[t * BAR_MS, 1.0, 9.0, 0.5, c, 5] for t, c in bars],
        "indicators": {"RSI_14": [c for _, c in bars]},
        "complete": complete,
    }


def snapshot(ts, close, bars=(), *, complete=True, **more):
    """Return a snapshot with a history of bars given as (ts, close)."""
    return frame(ts, close, kind="snapshot", history=history(bars, complete=complete), **more)


class Talk:
    """One connection as its act sees it."""

    def __init__(self, socket):
        self.socket = socket
        self.address = urlsplit(socket.request.path)
        self.query = parse_qs(self.address.query)
        self.headers = socket.request.headers
        self.heard = []

    async def greet(self, heartbeat_ms=30_000, expires_at=None):
        await self.say(
            {"type": "connected", "session_id": self.query["session_id"][0], "ws_conn_id": "ws_1",
             "heartbeat_ms": heartbeat_ms, "expires_at": expires_at, "retained": []}
        )  # fmt: skip

    async def say(self, *messages):
        for message in messages:
            await self.socket.send(json.dumps(message))

    async def hear(self, kind=None):
        """Return the next message, or the next of one type."""
        while True:
            message = json.loads(await self.socket.recv())
            self.heard.append(message)
            if kind is None or message["type"] == kind:
                return message

    async def subscribed(self, *frames):
        """Greet the client, then answer its first subscription as `join` does."""
        await self.greet()
        return await self.join(*frames)

    async def join(self, *frames):
        """Confirm the next subscription and send frames; return the request."""
        request = await self.hear("subscribe")
        await self.say(
            {"type": "subscribed", "id": request["id"], "ws_conn_id": "ws_1", "symbol": request["symbol"],
             "timeframe": request["timeframe"], "indicators": request["indicators"]}
        )  # fmt: skip
        await self.say(*frames)
        return request


class Server:
    """Server that plays one act per connection, in order; the socket stays open after the end of its act."""

    def __init__(self, *acts, pages=(), port=0):
        self.acts = list(acts)
        self.port = port
        self.pages = list(pages)
        """The replies of REST, one page after the other."""
        self.asked = []
        self.talks = []
        self.closed = []
        self.errors = []

    async def __aenter__(self):
        self.server = await serve(
            self.play, "127.0.0.1", self.port, ping_interval=None, process_request=self._page
        )
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()
        assert not self.errors, self.errors

    def _page(self, connection, request):
        address = urlsplit(request.path)
        if address.path.startswith("/indicators/"):
            self.asked.append((address.path, parse_qs(address.query)))
            return connection.respond(200, json.dumps(self.pages.pop(0)))
        return None

    async def play(self, socket):
        talk = Talk(socket)
        self.talks.append(talk)
        act = self.acts[min(len(self.talks), len(self.acts)) - 1]
        try:
            await act(talk)
        except AssertionError as error:
            self.errors.append(error)
        with contextlib.suppress(asyncio.CancelledError):
            await socket.wait_closed()
        self.closed.append(socket.close_code)
