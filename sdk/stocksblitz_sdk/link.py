"""One WebSocket, from its opening to its end, with its heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from stocksblitz_sdk.errors import StocksBlitzError

if TYPE_CHECKING:
    from stocksblitz_sdk.client import Client

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 5.0
"""A connection that lived for so long begins anew with short pauses when it is lost."""
ANSWER_S = 10.0
"""How long the answer to a heartbeat may take; without one the connection is taken for dead."""
RENEW_S = 60.0
"""So long before it expires a token is replaced."""
RESTART = 1012


def backoff(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait before attempt n (0 is the first): doubling, half of it random, so that clients
    spread."""
    full = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 16))
    return full / 2 + chance() * full / 2


def restart_pause(code: int, reason: str, chance: Callable[[], float] = random.random) -> float | None:
    """A server that restarts says over what time its clients shall spread; None when it does not."""
    hint = re.search(r"jitter_ms=(\d+)", reason) if code == RESTART else None
    return chance() * int(hint[1]) / 1000 if hint else None


@dataclass
class Link:
    socket: ClientConnection
    loop: asyncio.AbstractEventLoop
    heartbeat_s: float = 30.0
    expires_at: str | None = None
    opened: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def steady(self) -> bool:
        return time.monotonic() - self.opened > STEADY_S

    def begin(self, client: Client, connected: dict[str, Any]) -> None:
        """The server has greeted: from now on say regularly that we live."""
        self.heartbeat_s = max(0.05, (connected.get("heartbeat_ms") or 30_000) / 1000)
        self.expires_at = connected.get("expires_at")
        self.task = asyncio.ensure_future(_beat(self, client))

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """The next message. A silence longer than a heartbeat and its answer is a dead connection:
        TimeoutError."""
        raw = await asyncio.wait_for(self.socket.recv(), self.heartbeat_s + ANSWER_S)
        message: dict[str, Any] = json.loads(raw)
        return message

    async def close(self) -> None:
        if self.task:
            self.task.cancel()
        await self.socket.close()

    def abandon(self) -> None:
        """Close in the background; callable in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the socket with it
            self.loop.call_soon_threadsafe(_keep, self.loop, self)


_closing: set[asyncio.Task[None]] = set()


def _keep(loop: asyncio.AbstractEventLoop, link: Link) -> None:
    task = loop.create_task(link.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def open_link(client: Client, session_id: str) -> Link:
    """Connect. The credentials go in a header, so that no address holds them."""
    headers = await asyncio.to_thread(client.authorization)
    url = "ws" + client.base_url[len("http") :] + f"/ws/indicators?session_id={session_id}"
    socket = await connect(
        url,
        additional_headers=headers,
        ping_interval=None,  # the protocol's heartbeat does that, and takes no slow reader for a dead server
        open_timeout=ANSWER_S,
        close_timeout=2.0,
        max_size=None,
    )
    return Link(socket, asyncio.get_running_loop())


async def _beat(link: Link, client: Client) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(link.heartbeat_s)
            if client.renewable and _left(link.expires_at) < RENEW_S + link.heartbeat_s:
                await _renew(link, client)
            await link.send({"type": "heartbeat"})


def _left(expires_at: str | None) -> float:
    """Seconds until then; without an end, for ever."""
    if not expires_at:
        return float("inf")
    end = datetime.fromisoformat(expires_at.replace("Z", "+00:00"))
    return (end - datetime.now(timezone.utc)).total_seconds()


async def _renew(link: Link, client: Client) -> None:
    """Replace the socket's token. What fails is tried again with the next heartbeat."""
    with contextlib.suppress(StocksBlitzError, httpx.HTTPError):
        authorization = await asyncio.to_thread(lambda: client.renew(client.authorization()))
        token = authorization["Authorization"].partition(" ")[2]
        await link.send({"type": "authenticate", "token": token})
