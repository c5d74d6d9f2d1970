"""Sessions that are read by polling."""

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
    from stocksblitz_sdk.indicators import IndicatorSpec
    from stocksblitz_sdk.rest import RestClient

HEARTBEAT_S = 60.0
"""Well below the 300 s after which the server drops a session that it has not heard from."""


class IndicatorSubscription:
    """A session of its own: `get_data` returns the indicators that this object has subscribed to, and no others.

    It ends with `close`, with its ``with`` block, or when it is garbage-collected.
    """

    def __init__(self, api_client: RestClient) -> None:
        self.api_client = api_client
        self.session_id = str(uuid.uuid4())
        self._subscribed: dict[tuple[str, str], list[str]] = {}
        self._last_contact = time.monotonic()
        self._finalizer = weakref.finalize(
            self, _unsubscribe_all, api_client, self.session_id, self._subscribed
        )

    def subscribe(self, symbol: str, timeframe: str, indicators: Sequence[IndicatorSpec]) -> dict[str, Any]:
        """Add indicators: ``RSI(14)``, ``"RSI_14"`` or ``{"name": "RSI", "params": {"length": 14}}``."""
        ids = self.api_client.ids(indicators)
        body = {"symbol": symbol, "timeframe": timeframe, "indicators": ids, "session_id": self.session_id}
        reply: dict[str, Any] = self.api_client.post("/indicators/subscribe", json=body)
        ids_held = self._subscribed.setdefault((symbol, timeframe), [])
        ids_held.extend(indicator for indicator in ids if indicator not in ids_held)
        self._last_contact = time.monotonic()
        return reply

    def get_data(self, symbol: str, timeframe: str) -> dict[str, Any]:
        """Return the current bar, Greeks, open interest and this session's indicators.

        A call every few minutes keeps the session alive.
        """
        if time.monotonic() - self._last_contact > HEARTBEAT_S:
            self.heartbeat()
        reply: dict[str, Any] = self.api_client.get(
            f"/indicators/data/{symbol}",
            params={"timeframe": timeframe},
            headers={"X-Session-ID": self.session_id},
        )
        return reply

    def heartbeat(self) -> None:
        """Tell the server that this session is still in use; `get_data` does so by itself."""
        subscriptions = [
            {"symbol": symbol, "timeframe": timeframe, "indicator_id": indicator}
            for (symbol, timeframe), ids in self._subscribed.items()
            for indicator in ids
        ]
        body = {"session_id": self.session_id, "subscriptions": subscriptions}
        self.api_client.post("/indicators/heartbeat", json=body)
        self._last_contact = time.monotonic()

    def unsubscribe(
        self, symbol: str, timeframe: str, indicators: Sequence[IndicatorSpec] | None = None
    ) -> None:
        """Remove some indicators of a stream, or the whole stream."""
        ids = None if indicators is None else self.api_client.ids(indicators)
        _unsubscribe(self.api_client, self.session_id, symbol, timeframe, ids)
        held = self._subscribed.get((symbol, timeframe), [])
        left = [] if ids is None else [indicator for indicator in held if indicator not in ids]
        if left:
            self._subscribed[symbol, timeframe] = left
        else:
            self._subscribed.pop((symbol, timeframe), None)

    def close(self) -> None:
        """Unsubscribe from everything, so that the server computes nothing more for this session; never raises."""
        self._finalizer()

    def __enter__(self) -> IndicatorSubscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unsubscribe(
    client: RestClient, session: str, symbol: str, timeframe: str, ids: list[str] | None
) -> None:
    body: dict[str, Any] = {"symbol": symbol, "timeframe": timeframe, "session_id": session}
    if ids is not None:
        body["indicators"] = ids
    client.post("/indicators/unsubscribe", json=body)


def _unsubscribe_all(client: RestClient, session: str, subscribed: dict[tuple[str, str], list[str]]) -> None:
    """Unsubscribe from every stream; what fails is left to the server, which drops silent sessions by itself."""
    for symbol, timeframe in list(subscribed):
        with contextlib.suppress(StocksBlitzError, httpx.HTTPError, RuntimeError):
            _unsubscribe(client, session, symbol, timeframe, None)
    subscribed.clear()
