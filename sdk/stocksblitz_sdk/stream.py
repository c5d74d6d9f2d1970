"""Live updates over a WebSocket that comes back by itself."""

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

from stocksblitz_sdk.errors import StocksBlitzError, StreamClosed
from stocksblitz_sdk.link import Link, backoff, open_link, restart_pause
from stocksblitz_sdk.messages import History, Update, history_of, joined, replayed, update_of

if TYPE_CHECKING:
    from stocksblitz_sdk.client import Client
    from stocksblitz_sdk.indicators import Asked

AGAIN_S = 1.0
"""Pause before a subscription that failed for the moment is tried again."""
BURST = 25
"""Subscriptions sent at once; the server allows 50 requests a second."""
MOST_BARS = 5_000
"""Bars of one page of history."""
ABNORMAL = 1006
NOT_AUTHENTICATED = 4501
_LOST = (OSError, asyncio.TimeoutError, InvalidHandshake, InvalidMessage, httpx.TransportError)


class Want(NamedTuple):
    """What is subscribed to on one pair."""

    symbol: str
    timeframe: str
    indicators: list[Asked]


@dataclass
class Position:
    """How far one pair has come. ``last_closed``: every bar that opened until then is known (ms UTC)."""

    symbol: str
    timeframe: str
    ids: list[str]
    joined: bool = False
    waiting: bool = True
    last_closed: int = 0
    epoch: str = ""
    seq: int = 0

    def move(self, update: Update) -> None:
        self.epoch, self.seq = update.epoch, update.seq
        if update.bar:
            self.last_closed = max(
                self.last_closed, update.bar.ts if update.bar.closed else update.bar.ts - 1
            )


@dataclass
class _Box:
    """What outlives a stream that nobody holds any more, just long enough to be closed."""

    link: Link | None = None


@dataclass
class Stream:
    """Updates, one after the other: ``async for update in stream``. Made by `Client.stream`.

    Every bar that closes comes exactly once, also when the connection was lost in between
    (``update.replayed``); of the bar that forms, a slow reader gets the newest state. While nobody reads,
    nothing piles up here: the server waits. Raises StreamClosed when the server says not to come back, and
    StocksBlitzError when it refuses what was asked for.
    """

    client: Client
    wants: Sequence[Want]
    history: int = 0
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reconnects: int = field(default=0, init=False)
    lagged: int = field(default=0, init=False)
    """Forming updates that the server left out because this reader was slow."""

    def __post_init__(self) -> None:
        if not self.wants:
            raise ValueError("expected at least one (symbol, timeframe, indicators)")
        self._positions: dict[tuple[str, str], Position] = {}
        self._ready: deque[Update] = deque()
        self._pending: dict[int, Position] = {}
        self._next_id = 1
        self._attempt = 0
        self._renewed = False
        self._closed = False
        self._box = _Box()
        self._finalizer = weakref.finalize(self, _abandon, self._box)
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
                await self._lost(code, reason)
            except InvalidStatus as refused:
                await self._refused(refused.response.status_code)
            except _LOST as error:
                await self._lost(ABNORMAL, type(error).__name__)
            except StocksBlitzError as error:
                if self._closed or not error.retryable:
                    raise
                await self._lost(ABNORMAL, error.message)
        return self._ready.popleft()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the session; the server drops its subscriptions at once."""
        self._closed = True
        await self._hang_up()

    # The connection

    async def _advance(self) -> None:
        """Connect, or take the next message."""
        link = self._box.link
        if link is None:
            if not self._positions:
                self._positions = await asyncio.to_thread(self._resolve)
            self._box.link = await open_link(self.client, self.session_id)
        else:
            await self._take(link, await link.receive())

    def _resolve(self) -> dict[tuple[str, str], Position]:
        return {
            (w.symbol, w.timeframe): Position(w.symbol, w.timeframe, self.client.ids(w.indicators))
            for w in self.wants
        }

    async def _hang_up(self) -> None:
        link, self._box.link = self._box.link, None
        self._pending.clear()
        if link:
            await link.close()

    async def _refused(self, status: int) -> None:
        """The handshake was answered by plain HTTP."""
        if status < 500 and status != 429:
            self._closed = True
            raise StocksBlitzError(
                "error", f"the server refused the socket with HTTP {status}", status=status
            )
        await self._lost(ABNORMAL, f"HTTP {status}")

    async def _lost(self, code: int, reason: str) -> None:
        """Wait, so that the next turn connects again; or raise, when the server says to stay away."""
        if self._box.link and self._box.link.steady:
            self._attempt = 0
        await self._hang_up()
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
        """Another token, once until a connection stands again."""
        if self._renewed or not self.client.renewable:
            return False
        self._renewed = True
        with contextlib.suppress(httpx.TransportError):  # then the next connection asks again
            await asyncio.to_thread(lambda: self.client.renew(self.client.authorization()))
        return True

    # Messages

    async def _take(self, link: Link, message: dict[str, Any]) -> None:
        kind = message.get("type")
        position = self._positions.get((message.get("symbol", ""), message.get("timeframe", "")))
        if kind == "connected":
            self._renewed = False
            link.begin(self.client, message)
            await self._join(link)
        elif kind == "authenticated":
            link.expires_at = message.get("expires_at")
        elif kind == "error":
            await self._on_error(link, message)
        elif position and kind == "market_update":
            await self._on_update(link, position, message)
        elif position and kind == "snapshot":
            await self._on_snapshot(position, message)
        elif position and kind == "lagged":
            self._on_lagged(position, message)

    async def _join(self, link: Link) -> None:
        for at, position in enumerate(self._positions.values(), 1):
            await self._subscribe(link, position)
            if at % BURST == 0:
                await asyncio.sleep(1.0)

    async def _subscribe(self, link: Link, position: Position) -> None:
        """Ask for a pair, from where we know it; its updates count again once the snapshot is there."""
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
        await link.send(request)

    async def _on_error(self, link: Link, message: dict[str, Any]) -> None:
        position = self._pending.pop(message.get("id") or 0, None)
        if position is None:
            return
        if not message.get("retryable"):
            await self.aclose()
            raise StocksBlitzError(str(message.get("code")), str(message.get("message")))
        await asyncio.sleep(AGAIN_S)
        await self._subscribe(link, position)

    async def _on_snapshot(self, position: Position, message: dict[str, Any]) -> None:
        """The first one opens a pair; a later one tells what closed since."""
        history = history_of(message.get("history"))
        first = not position.joined
        if not first:
            history = await asyncio.to_thread(self._back_to, position, history)
            self._ready.extend(replayed(message, history, position.last_closed))
        update = update_of(message, history if first and self.history else None)
        if (update.bar and update.bar.ts > position.last_closed) or update.history:
            self._ready.append(update)
        if history.bars:
            position.last_closed = max(position.last_closed, history.bars[-1].ts)
        position.move(update)
        position.joined, position.waiting = True, False

    def _back_to(self, position: Position, history: History) -> History:
        """All that closed since the position: what is too much for a snapshot comes over REST."""
        while history.bars and not history.complete and history.bars[0].ts > position.last_closed:
            params = {
                "timeframe": position.timeframe,
                "indicators": ",".join(position.ids),
                "limit": MOST_BARS,
                "before": history.bars[0].ts,
            }
            older = history_of(self.client.get(f"/indicators/{position.symbol}/history", params=params))
            if not older.bars:
                break
            history = joined(older, history)
        return history

    async def _on_update(self, link: Link, position: Position, message: dict[str, Any]) -> None:
        if position.waiting:
            return
        update = update_of(message)
        same = update.epoch == position.epoch
        if same and update.seq <= position.seq:
            return
        if not same or update.seq > position.seq + 1:  # something is missing that no `lagged` named
            await self._subscribe(link, position)
            return
        known = update.bar is not None and update.bar.ts <= position.last_closed
        position.move(update)
        if not known:
            self._ready.append(update)

    def _on_lagged(self, position: Position, message: dict[str, Any]) -> None:
        first, last = message["from_seq"], message["to_seq"]
        self.lagged += last - first + 1
        if first <= position.seq + 1:
            position.seq = max(position.seq, last)


def _abandon(box: _Box) -> None:
    """Close what a forgotten stream held, from whatever thread its memory was taken back in."""
    if box.link:
        box.link.abandon()
