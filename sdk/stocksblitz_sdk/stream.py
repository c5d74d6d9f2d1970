"""Live updates over a WebSocket that reconnects by itself."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from stocksblitz_sdk.connection import Connection, backoff, open_connection, restart_pause
from stocksblitz_sdk.errors import StocksBlitzError, StreamClosed
from stocksblitz_sdk.messages import History, Update, concatenate, history_of, replayed_updates, update_of

if TYPE_CHECKING:
    from stocksblitz_sdk.indicators import IndicatorSpec
    from stocksblitz_sdk.rest import RestClient

RETRY_S = 1.0
"""Pause before a subscription that failed with a retryable error is sent again."""
BURST = 25
"""Subscriptions sent per second; the server allows 50 requests a second."""
PAGE_BARS = 5_000
"""Bars requested per page of history: the most that the server returns."""
ABNORMAL = 1006
NOT_AUTHENTICATED = 4501
_CONNECTION_ERRORS = (OSError, asyncio.TimeoutError, InvalidHandshake, InvalidMessage, httpx.TransportError)


class StreamRequest(NamedTuple):
    """The indicators to subscribe to on one symbol and timeframe."""

    symbol: str
    timeframe: str
    indicators: list[IndicatorSpec]


@dataclass
class Position:
    """How far one stream has been delivered: every bar that opened until ``last_closed`` (ms UTC) was."""

    symbol: str
    timeframe: str
    ids: list[str]
    joined: bool = False
    waiting: bool = True
    last_closed: int = 0
    epoch: str = ""
    seq: int = 0

    def advance_to(self, update: Update) -> None:
        """Take over the position of an update."""
        self.epoch, self.seq = update.epoch, update.seq
        if update.bar:
            self.last_closed = max(
                self.last_closed, update.bar.ts if update.bar.closed else update.bar.ts - 1
            )


@dataclass
class _ConnectionHolder:
    """Holder of the connection, which outlives a garbage-collected stream until it is closed."""

    connection: Connection | None = None


@dataclass
class Stream:
    """Iterator of updates: ``async for update in stream``. `Client.stream` makes it.

    Every closed bar is delivered exactly once, also when the connection was lost meanwhile (``update.replayed``); of
    the forming bar, a slow reader gets the newest state. Nothing is queued here while nobody reads: the server waits.
    Raises StreamClosed when the server closes the stream for good, and StocksBlitzError when it refuses a subscription.
    """

    client: RestClient
    requests: Sequence[StreamRequest]
    history: int = 0
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reconnects: int = field(default=0, init=False)
    lagged: int = field(default=0, init=False)
    """Forming states that the server skipped because this reader was slow."""

    def __post_init__(self) -> None:
        if not self.requests:
            raise ValueError("expected at least one (symbol, timeframe, indicators)")
        self._positions: dict[tuple[str, str], Position] = {}
        self._ready: deque[Update] = deque()
        self._pending: dict[int, Position] = {}
        self._next_id = 1
        self._attempt = 0
        self._renewed = False
        self._closed = False
        self._holder = _ConnectionHolder()
        self._finalizer = weakref.finalize(self, _close_abandoned, self._holder)
        self._finalizer.atexit = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Update:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            try:
                await self._advance()
            except ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (ABNORMAL, "")
                await self._on_connection_lost(code, reason)
            except InvalidStatus as refused:
                await self._on_handshake_refused(refused.response.status_code)
            except _CONNECTION_ERRORS as error:
                await self._on_connection_lost(ABNORMAL, type(error).__name__)
            except StocksBlitzError as error:
                if self._closed or not error.retryable:
                    raise
                await self._on_connection_lost(ABNORMAL, error.message)
        return self._ready.popleft()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the session; the server removes its subscriptions at once."""
        self._closed = True
        await self._disconnect()

    # The connection

    async def _advance(self) -> None:
        """Connect, or handle the next message."""
        connection = self._holder.connection
        if connection is None:
            if not self._positions:
                self._positions = await asyncio.to_thread(self._resolve)
            self._holder.connection = await open_connection(self.client, self.session_id)
        else:
            await self._handle_message(connection, await connection.receive())

    def _resolve(self) -> dict[tuple[str, str], Position]:
        return {
            (request.symbol, request.timeframe): Position(
                request.symbol, request.timeframe, self.client.ids(request.indicators)
            )
            for request in self.requests
        }

    async def _disconnect(self) -> None:
        connection, self._holder.connection = self._holder.connection, None
        self._pending.clear()
        if connection:
            await connection.close()

    async def _on_handshake_refused(self, status: int) -> None:
        """Handle a handshake that was answered with an HTTP error."""
        if status < 500 and status != 429:
            self._closed = True
            raise StocksBlitzError(
                "error", f"the server refused the socket with HTTP {status}", status=status
            )
        await self._on_connection_lost(ABNORMAL, f"HTTP {status}")

    async def _on_connection_lost(self, code: int, reason: str) -> None:
        """Wait before the next connection, or raise when the server closed the stream for good."""
        if self._holder.connection and self._holder.connection.steady:
            self._attempt = 0
        await self._disconnect()
        if self._closed:
            return
        if 4500 <= code <= 4999 and not (code == NOT_AUTHENTICATED and await self._renew()):
            self._closed = True
            raise StreamClosed(code, reason)
        pause = restart_pause(code, reason)
        await asyncio.sleep(backoff(self._attempt) if pause is None else pause)
        self._attempt += 1
        self.reconnects += 1

    async def _renew(self) -> bool:
        """Renew the token, but only once until the server has accepted a connection."""
        if self._renewed or not self.client.renewable:
            return False
        self._renewed = True
        with contextlib.suppress(httpx.TransportError):  # the next connection tries again
            await asyncio.to_thread(lambda: self.client.renew(self.client.authorization()))
        return True

    # Messages

    async def _handle_message(self, connection: Connection, message: dict[str, Any]) -> None:
        kind = message.get("type")
        position = self._positions.get((message.get("symbol", ""), message.get("timeframe", "")))
        if kind == "connected":
            self._renewed = False
            connection.begin(self.client, message)
            await self._subscribe_all(connection)
        elif kind == "authenticated":
            connection.expires_at = message.get("expires_at")
        elif kind == "error":
            await self._on_error(connection, message)
        elif position and kind == "market_update":
            await self._on_update(connection, position, message)
        elif position and kind == "snapshot":
            await self._on_snapshot(position, message)
        elif position and kind == "lagged":
            self._on_lagged(position, message)

    async def _subscribe_all(self, connection: Connection) -> None:
        for at, position in enumerate(self._positions.values(), 1):
            await self._subscribe(connection, position)
            if at % BURST == 0:
                await asyncio.sleep(1.0)

    async def _subscribe(self, connection: Connection, position: Position) -> None:
        """Subscribe to a stream from its position on; updates that come before the snapshot are ignored."""
        request: dict[str, Any] = {
            "type": "subscribe",
            "id": self._next_id,
            "symbol": position.symbol,
            "timeframe": position.timeframe,
            "indicators": position.ids,
        }
        if position.last_closed:
            request["since_bar"] = position.last_closed
        elif self.history and not position.joined:
            request["history"] = self.history
        position.waiting = True
        self._pending[self._next_id] = position
        self._next_id += 1
        await connection.send(request)

    async def _on_error(self, connection: Connection, message: dict[str, Any]) -> None:
        position = self._pending.pop(message.get("id") or 0, None)
        if position is None:
            return
        if not message.get("retryable"):
            await self.aclose()
            raise StocksBlitzError(str(message.get("code")), str(message.get("message")))
        await asyncio.sleep(RETRY_S)
        await self._subscribe(connection, position)

    async def _on_snapshot(self, position: Position, message: dict[str, Any]) -> None:
        """Deliver the first snapshot of a stream; from a later one, first deliver the bars that closed since."""
        history = history_of(message.get("history"))
        first = not position.joined
        if not first:
            history = await asyncio.to_thread(self._fetch_older_bars, position, history)
            self._ready.extend(replayed_updates(message, history, position.last_closed))
        update = update_of(message, history if first and self.history else None)
        if (update.bar and update.bar.ts > position.last_closed) or update.history:
            self._ready.append(update)
        if history.bars:
            position.last_closed = max(position.last_closed, history.bars[-1].ts)
        position.advance_to(update)
        position.joined, position.waiting = True, False

    def _fetch_older_bars(self, position: Position, history: History) -> History:
        """Return all bars closed since the position; those that a snapshot does not hold are read over REST."""
        while history.bars and not history.complete and history.bars[0].ts > position.last_closed:
            params = {
                "timeframe": position.timeframe,
                "indicators": ",".join(position.ids),
                "limit": PAGE_BARS,
                "before": history.bars[0].ts,
            }
            older = history_of(self.client.get(f"/indicators/{position.symbol}/history", params=params))
            if not older.bars:
                break
            history = concatenate(older, history)
        return history

    async def _on_update(self, connection: Connection, position: Position, message: dict[str, Any]) -> None:
        if position.waiting:
            return
        update = update_of(message)
        same = update.epoch == position.epoch
        if same and update.seq <= position.seq:
            return
        if not same or update.seq > position.seq + 1:  # frames are missing, and no `lagged` said so
            await self._subscribe(connection, position)
            return
        known = update.bar is not None and update.bar.ts <= position.last_closed
        position.advance_to(update)
        if not known:
            self._ready.append(update)

    def _on_lagged(self, position: Position, message: dict[str, Any]) -> None:
        first, last = message["from_seq"], message["to_seq"]
        self.lagged += last - first + 1
        if first <= position.seq + 1:
            position.seq = max(position.seq, last)


def _close_abandoned(holder: _ConnectionHolder) -> None:
    """Close the connection of a garbage-collected stream, in whatever thread the collector runs."""
    if holder.connection:
        holder.connection.abandon()
