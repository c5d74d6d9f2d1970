"""One login: REST calls, histories, and the door to streams and subscriptions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import httpx

from stocksblitz_sdk.errors import StocksBlitzError
from stocksblitz_sdk.history import table
from stocksblitz_sdk.indicators import Asked, Catalogue, ids_of, needs_catalogue
from stocksblitz_sdk.stream import Stream, Want
from stocksblitz_sdk.subscription import IndicatorSubscription


class Client:
    """A user of a StocksBlitz server.

    Signs in with one of ``username`` and ``password``, ``token`` (an access token, or a function that gives a
    fresh one), or ``api_key``. Methods raise StocksBlitzError for what the server refuses,
    httpx.TransportError when it cannot be reached. It may be shared by threads.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | Callable[[], str] | None = None,
        api_key: str | None = None,
        timeout: float = 15.0,
    ) -> None:
        if sum(each is not None for each in (username, token, api_key)) != 1:
            raise ValueError("expected exactly one of username (with password), token and api_key")
        if (username is None) != (password is None):
            raise ValueError("expected username and password together")
        self.base_url = base_url.rstrip("/")
        self._login = {"username": username, "password": password}
        self._token, self._api_key = token, api_key
        self._access = token if isinstance(token, str) else ""
        self._refresh = ""
        self._lock = threading.Lock()
        self._catalogue: list[dict[str, Any]] | None = None
        self._http = httpx.Client(
            base_url=self.base_url, timeout=timeout, headers={"Accept": "application/json"}
        )

    # Requests

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET; ``params`` and ``headers`` as httpx takes them."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        """The JSON of a POST; its body is ``json``."""
        return self.request("POST", path, **options)

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """Any route's JSON, or None. A token that has expired is renewed once."""
        authorization = self.authorization()
        answer = self._http.request(method, path, headers={**(headers or {}), **authorization}, **options)
        if answer.status_code == 401 and self.renewable:
            authorization = self.renew(authorization)
            answer = self._http.request(method, path, headers={**(headers or {}), **authorization}, **options)
        if not answer.is_success:
            raise StocksBlitzError.of(answer)
        return answer.json() if answer.content else None

    # Identity

    def authorization(self) -> dict[str, str]:
        """The header that says who we are; signs in when that has not been done."""
        if self._api_key is not None:
            return {"Authorization": f"Api-Key {self._api_key}"}
        if not self._access:
            return self.renew({})
        return {"Authorization": f"Bearer {self._access}"}

    @property
    def renewable(self) -> bool:
        """Whether another token can be had: not with a fixed one, nor with an API key."""
        return self._api_key is None and not isinstance(self._token, str)

    def renew(self, used: dict[str, str]) -> dict[str, str]:
        """Another token, unless somebody has replaced the one that was used already."""
        with self._lock:
            if not self._access or used.get("Authorization") == f"Bearer {self._access}":
                self._access = self._token() if callable(self._token) else self._sign_in()
            return {"Authorization": f"Bearer {self._access}"}

    def _sign_in(self) -> str:
        if self._refresh:
            answer = self._http.post("/auth/token/refresh", json={"refresh": self._refresh})
            if answer.is_success:
                return str(answer.json()["access"])
        answer = self._http.post("/auth/token", json=self._login)
        if not answer.is_success:
            raise StocksBlitzError.of(answer)
        body = answer.json()
        self._refresh = str(body["refresh"])
        return str(body["access"])

    # Indicators

    def catalogue(self) -> list[dict[str, Any]]:
        """Every indicator there is: names, parameters, parts. Asked for once."""
        if self._catalogue is None:
            self._catalogue = list(self.get("/indicators/catalogue")["indicators"])
        return self._catalogue

    def ids(self, indicators: Sequence[Asked]) -> list[str]:
        """The ids by which the server knows them; ValueError when something is no indicator."""
        order: Catalogue = {}
        if needs_catalogue(indicators):
            order = {each["name"]: each["params"] for each in self.catalogue()}
        return ids_of(indicators, order)

    def current(self, symbol: str, timeframe: str, indicators: Sequence[Asked]) -> dict[str, dict[str, Any]]:
        """Values now, without a subscription: id to ``{ts, value, timeframe, ready, stale}``."""
        params = {"timeframe": timeframe, "indicators": ",".join(self.ids(indicators))}
        return dict(self.get(f"/indicators/{symbol}/current", params=params)["indicators"])

    def history(
        self,
        symbol: str,
        timeframe: str,
        indicators: Sequence[Asked] = (),
        *,
        limit: int = 300,
        before: int | None = None,
        as_frame: bool | None = None,
    ) -> Any:
        """Closed bars with indicator values, oldest first; at most 5,000, all of which opened before
        ``before`` (ms UTC).

        A pandas.DataFrame indexed by opening time (UTC), or a list of dicts without pandas or with
        ``as_frame=False``. Parts of an indicator are columns of their own: ``MACD_12_26_9.MACDs``. A value
        that is not known yet is None (NaN).
        """
        params: dict[str, Any] = {"timeframe": timeframe, "limit": limit}
        if indicators:
            params["indicators"] = ",".join(self.ids(indicators))
        if before is not None:
            params["before"] = before
        return table(self.get(f"/indicators/{symbol}/history", params=params), as_frame)

    def quote(self, symbol: str) -> dict[str, Any]:
        """The price now."""
        return dict(self.get(f"/api/market/{symbol}/quote"))

    # Sessions

    def stream(
        self, symbol: str, timeframe: str, indicators: Sequence[Asked] = (), *, history: int = 0
    ) -> Stream:
        """Live updates of one symbol: ``async for update in client.stream("NIFTY50", "5min", [RSI(14)])``.

        ``history``: so many closed bars come with the first update.
        """
        return self.streams([(symbol, timeframe, indicators)], history=history)

    def streams(self, wants: Sequence[tuple[str, str, Sequence[Asked]]], *, history: int = 0) -> Stream:
        """Live updates of several, over one connection."""
        return Stream(
            self, [Want(symbol, tf, list(indicators)) for symbol, tf, indicators in wants], history=history
        )

    def subscription(self) -> IndicatorSubscription:
        """A session of its own that is read by polling."""
        return IndicatorSubscription(self)

    def close(self) -> None:
        """Close the connections of REST calls. Streams and subscriptions are closed by themselves."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
