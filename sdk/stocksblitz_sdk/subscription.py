"""A session that is read by polling."""

from __future__ import annotations

import contextlib
import time
import uuid
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from stocksblitz_sdk.errors import StocksBlitzError

if TYPE_CHECKING:
    from stocksblitz_sdk.client import Client
    from stocksblitz_sdk.indicators import Asked

HEARTBEAT_S = 60.0
"""The server forgets a session that says nothing for 300 s."""


class IndicatorSubscription:
    """A session of its own: `get_data` gives exactly what this object has subscribed to, whatever others
    have.

    It ends with `close`, with its ``with`` block, or when nobody holds it any more.
    """

    def __init__(self, api_client: Client) -> None:
        self.api_client = api_client
        self.session_id = str(uuid.uuid4())
        self._pairs: dict[tuple[str, str], list[str]] = {}
        self._said = time.monotonic()
        self._finalizer = weakref.finalize(self, _leave, api_client, self.session_id, self._pairs)

    def subscribe(self, symbol: str, timeframe: str, indicators: Sequence[Asked]) -> dict[str, Any]:
        """Add indicators: ``RSI(14)``, ``"RSI_14"`` or ``{"name": "RSI", "params": {"length": 14}}``."""
        ids = self.api_client.ids(indicators)
        body = {"symbol": symbol, "timeframe": timeframe, "indicators": ids, "session_id": self.session_id}
        reply: dict[str, Any] = self.api_client.post("/indicators/subscribe", json=body)
        held = self._pairs.setdefault((symbol, timeframe), [])
        held.extend(each for each in ids if each not in held)
        self._said = time.monotonic()
        return reply

    def get_data(self, symbol: str, timeframe: str) -> dict[str, Any]:
        """Bar, Greeks, open interest and this session's indicators now. Read at least every few minutes: that
        keeps the session alive."""
        if time.monotonic() - self._said > HEARTBEAT_S:
            self.heartbeat()
        reply: dict[str, Any] = self.api_client.get(
            f"/indicators/data/{symbol}",
            params={"timeframe": timeframe},
            headers={"X-Session-ID": self.session_id},
        )
        return reply

    def heartbeat(self) -> None:
        """Say that this session lives. `get_data` does it by itself."""
        subscriptions = [
            {"symbol": symbol, "timeframe": timeframe, "indicator_id": each}
            for (symbol, timeframe), ids in self._pairs.items()
            for each in ids
        ]
        body = {"session_id": self.session_id, "subscriptions": subscriptions}
        self.api_client.post("/indicators/heartbeat", json=body)
        self._said = time.monotonic()

    def unsubscribe(self, symbol: str, timeframe: str, indicators: Sequence[Asked] | None = None) -> None:
        """Drop some indicators of a pair, or all of it."""
        ids = None if indicators is None else self.api_client.ids(indicators)
        _unsubscribe(self.api_client, self.session_id, symbol, timeframe, ids)
        left = (
            []
            if ids is None
            else [each for each in self._pairs.get((symbol, timeframe), []) if each not in ids]
        )
        if left:
            self._pairs[symbol, timeframe] = left
        else:
            self._pairs.pop((symbol, timeframe), None)

    def close(self) -> None:
        """Give everything back; the server computes nothing for this session any more. Never raises."""
        self._finalizer()

    def __enter__(self) -> IndicatorSubscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unsubscribe(client: Client, session: str, symbol: str, timeframe: str, ids: list[str] | None) -> None:
    body: dict[str, Any] = {"symbol": symbol, "timeframe": timeframe, "session_id": session}
    if ids is not None:
        body["indicators"] = ids
    client.post("/indicators/unsubscribe", json=body)


def _leave(client: Client, session: str, pairs: dict[tuple[str, str], list[str]]) -> None:
    """Whatever stays after this, the server drops by itself when it hears nothing for SESSION_TTL."""
    for symbol, timeframe in list(pairs):
        with contextlib.suppress(StocksBlitzError, httpx.HTTPError, RuntimeError):
            _unsubscribe(client, session, symbol, timeframe, None)
    pairs.clear()
