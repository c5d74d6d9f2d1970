"""One WebSocket connection with its heartbeat, and the pauses between connections."""

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
    from stocksblitz_sdk.rest import RestClient

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 5.0
"""When a connection that lasted this long is lost, the pauses begin again with the shortest."""
ANSWER_S = 10.0
"""How long the server may take to answer a heartbeat before the connection counts as dead."""
RENEW_S = 60.0
"""How long before its expiry a token is renewed."""
RESTART = 1012


def backoff(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait before attempt n (from 0): they double, and half is random to spread clients."""
    full = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 16))
    return full / 2 + chance() * full / 2


def restart_pause(code: int, reason: str, chance: Callable[[], float] = random.random) -> float | None:
    """Return a random pause within the time that a restarting server names, or None when it names none."""
    hint = re.search(r"jitter_ms=(\d+)", reason) if code == RESTART else None
    return chance() * int(hint[1]) / 1000 if hint else None


@dataclass
class Connection:
    """An open WebSocket and the task that sends its heartbeats."""

    socket: ClientConnection
    loop: asyncio.AbstractEventLoop
    heartbeat_s: float = 30.0
    expires_at: str | None = None
    opened: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    @property
    def steady(self) -> bool:
        """Whether the connection has lasted long enough to count as working."""
        return time.monotonic() - self.opened > STEADY_S

    def begin(self, client: RestClient, connected: dict[str, Any]) -> None:
        """Start the heartbeat with the interval that the server's ``connected`` message names."""
        self.heartbeat_s = max(0.05, (connected.get("heartbeat_ms") or 30_000) / 1000)
        self.expires_at = connected.get("expires_at")
        self.task = asyncio.ensure_future(_send_heartbeats(self, client))

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message; raise TimeoutError when none comes within a heartbeat and its answer."""
        raw = await asyncio.wait_for(self.socket.recv(), self.heartbeat_s + ANSWER_S)
        message: dict[str, Any] = json.loads(raw)
        return message

    async def close(self) -> None:
        if self.task:
            self.task.cancel()
        await self.socket.close()

    def abandon(self) -> None:
        """Close in the background; may be called in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the socket with it
            self.loop.call_soon_threadsafe(_close_in_background, self.loop, self)


_closing_tasks: set[asyncio.Task[None]] = set()


def _close_in_background(loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
    task = loop.create_task(connection.close())
    _closing_tasks.add(task)
    task.add_done_callback(_closing_tasks.discard)


async def open_connection(client: RestClient, session_id: str) -> Connection:
    """Open a connection; the credentials travel in a header, so that no log of addresses holds them."""
    headers = await asyncio.to_thread(client.authorization)
    url = "ws" + client.base_url[len("http") :] + f"/ws/indicators?session_id={session_id}"
    socket = await connect(
        url,
        additional_headers=headers,
        ping_interval=None,  # the heartbeat of the protocol does this job, and does not take a slow reader for dead
        open_timeout=ANSWER_S,
        close_timeout=2.0,
        max_size=None,
    )
    return Connection(socket, asyncio.get_running_loop())


async def _send_heartbeats(connection: Connection, client: RestClient) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(connection.heartbeat_s)
            if client.renewable and _seconds_until(connection.expires_at) < RENEW_S + connection.heartbeat_s:
                await _renew_token(connection, client)
            await connection.send({"type": "heartbeat"})


def _seconds_until(expires_at: str | None) -> float:
    """Return the seconds until a token expires; infinity for one that does not."""
    if not expires_at:
        return float("inf")
    end = datetime.fromisoformat(expires_at.replace("Z", "+00:00"))
    return (end - datetime.now(timezone.utc)).total_seconds()


async def _renew_token(connection: Connection, client: RestClient) -> None:
    """Renew the token of the connection; a failure is retried with the next heartbeat."""
    with contextlib.suppress(StocksBlitzError, httpx.HTTPError):
        authorization = await asyncio.to_thread(lambda: client.renew(client.authorization()))
        token = authorization["Authorization"].partition(" ")[2]
        await connection.send({"type": "authenticate", "token": token})
