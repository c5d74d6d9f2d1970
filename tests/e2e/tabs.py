"""A client of the WebSocket for tests, written from docs/protocol.md alone."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import PATIENCE_S


async def sign_in(stack, username="demo", password="demo") -> dict[str, str]:
    async with httpx.AsyncClient(base_url=stack.url, timeout=PATIENCE_S) as http:
        reply = await http.post("/auth/token", json={"username": username, "password": password})
        reply.raise_for_status()
        return reply.json()


async def token_of(stack, username="demo") -> str:
    """Return a token that the tests of a server share: checking a password costs half a second of a processor."""
    if username not in stack.tokens:
        stack.tokens[username] = (await sign_in(stack, username, username))["access"]
    return stack.tokens[username]


class Tab:
    """One socket. ``messages`` keeps everything that came, in order."""

    def __init__(self, socket: ClientConnection, session_id: str) -> None:
        self.socket, self.session_id = socket, session_id
        self.messages: list[dict[str, Any]] = []
        self._read = 0

    @classmethod
    async def open(cls, stack, token=None, session_id=None, **options) -> "Tab":
        token = token or await token_of(stack)
        session_id = session_id or str(uuid.uuid4())
        address = f"{stack.ws_url}/ws/indicators?session_id={session_id}&token={token}"
        tab = cls(
            await connect(address, max_size=None, max_queue=None, compression=None, **options), session_id
        )
        hello = await tab.next("connected")
        assert hello["session_id"] == session_id
        return tab

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        message = json.loads(await asyncio.wait_for(self.socket.recv(), timeout))
        self.messages.append(message)
        return message

    async def next(
        self, kind: str | set[str], accept: Callable[[dict], bool] = lambda _: True, timeout=PATIENCE_S
    ) -> dict:
        """Read on until a message of this type (or one of these) that is accepted."""
        kinds = {kind} if isinstance(kind, str) else kind

        async def search() -> dict:
            while True:
                message = json.loads(await self.socket.recv())
                self.messages.append(message)
                if message["type"] in kinds and accept(message):
                    return message

        return await asyncio.wait_for(search(), timeout)

    async def subscribe(self, symbol, timeframe, indicators=(), **options) -> tuple[dict, dict]:
        """Subscribe; returns the reply and the snapshot that follows it."""
        request_id = uuid.uuid4().hex
        await self.send(
            type="subscribe",
            id=request_id,
            symbol=symbol,
            timeframe=timeframe,
            indicators=list(indicators) if not isinstance(indicators, dict) else indicators,
            **options,
        )
        reply = await self.next("subscribed", lambda m: m["id"] == request_id)
        snapshot = await self.next("snapshot", lambda m: (m["symbol"], m["timeframe"]) == (symbol, timeframe))
        return reply, snapshot

    async def close(self, code: int = 1000) -> None:
        await self.socket.close(code)

    async def closed(self, timeout: float = PATIENCE_S) -> int | None:
        """Read until the server closes; returns its code."""
        await asyncio.wait_for(self.socket.wait_closed(), timeout)
        return self.socket.close_code


def closed_bars(messages, symbol, timeframe) -> list[dict]:
    return [
        message
        for message in messages
        if message["type"] == "market_update"
        and (message["symbol"], message["timeframe"]) == (symbol, timeframe)
        and message["ohlcv"]["closed"]
    ]


def check_order(messages, symbol, timeframe) -> None:
    """Within an epoch ``seq`` grows by one per frame, or `lagged` names what is missing; a new epoch has a snapshot."""
    at = None
    for message in messages:
        if (message.get("symbol"), message.get("timeframe")) != (symbol, timeframe):
            continue
        if message["type"] == "snapshot":
            at = (message["epoch"], message["seq"])
        elif message["type"] == "lagged":
            assert message["from_seq"] == at[1] + 1, message
            at = (at[0], message["to_seq"])
        elif message["type"] == "market_update":
            assert (message["epoch"], message["seq"]) == (at[0], at[1] + 1), (
                at,
                message["epoch"],
                message["seq"],
            )
            at = (message["epoch"], message["seq"])
