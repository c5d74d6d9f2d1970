"""The client: values, histories, streams and subscriptions of a signed-in user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stocksblitz_sdk.history import as_table
from stocksblitz_sdk.indicators import IndicatorSpec
from stocksblitz_sdk.rest import RestClient
from stocksblitz_sdk.stream import Stream, StreamRequest
from stocksblitz_sdk.subscription import IndicatorSubscription


class Client(RestClient):
    """A user's access to a StocksBlitz server.

    It signs in with ``username`` and ``password``, with ``token`` (an access token, or a function that returns a
    fresh one), or with ``api_key``. Methods raise StocksBlitzError when the server refuses a request, and
    httpx.TransportError when it cannot be reached. Threads may share one client.
    """

    # Indicators

    def current(
        self, symbol: str, timeframe: str, indicators: Sequence[IndicatorSpec]
    ) -> dict[str, dict[str, Any]]:
        """Return the current values by id, without a subscription: ``{ts, value, timeframe, ready, stale}``."""
        params = {"timeframe": timeframe, "indicators": ",".join(self.ids(indicators))}
        return dict(self.get(f"/indicators/{symbol}/current", params=params)["indicators"])

    def history(
        self,
        symbol: str,
        timeframe: str,
        indicators: Sequence[IndicatorSpec] = (),
        *,
        limit: int = 300,
        before: int | None = None,
        as_frame: bool | None = None,
    ) -> Any:
        """Return at most 5,000 closed bars with indicator values, oldest first; all opened before ``before`` (ms UTC).

        The result is a pandas.DataFrame indexed by opening time (UTC), or a list of dicts without pandas or with
        ``as_frame=False``. Each part of an indicator has a column: ``MACD_12_26_9.MACDs``. Values during the warm-up
        are None (NaN).
        """
        params: dict[str, Any] = {"timeframe": timeframe, "limit": limit}
        if indicators:
            params["indicators"] = ",".join(self.ids(indicators))
        if before is not None:
            params["before"] = before
        return as_table(self.get(f"/indicators/{symbol}/history", params=params), as_frame)

    def quote(self, symbol: str) -> dict[str, Any]:
        """Return the current quote."""
        return dict(self.get(f"/api/market/{symbol}/quote"))

    # Sessions

    def stream(
        self, symbol: str, timeframe: str, indicators: Sequence[IndicatorSpec] = (), *, history: int = 0
    ) -> Stream:
        """Return the live updates of one symbol: ``async for update in client.stream("NIFTY50", "5min", [RSI(14)])``.

        The first update brings ``history`` closed bars.
        """
        return self.streams([(symbol, timeframe, indicators)], history=history)

    def streams(
        self, requests: Sequence[tuple[str, str, Sequence[IndicatorSpec]]], *, history: int = 0
    ) -> Stream:
        """Return the live updates of several streams over one connection."""
        return Stream(
            self,
            [StreamRequest(symbol, tf, list(indicators)) for symbol, tf, indicators in requests],
            history=history,
        )

    def subscription(self) -> IndicatorSubscription:
        """Return a new session that is read by polling."""
        return IndicatorSubscription(self)
