"""REST calls of a signed-in user: requests, tokens and the catalogue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from stocksblitz_sdk.errors import StocksBlitzError
from stocksblitz_sdk.indicators import Catalogue, IndicatorSpec, ids_of, needs_catalogue

_Self = TypeVar("_Self", bound="RestClient")


class RestClient:
    """A signed-in user's REST calls; streams and subscriptions stand on it.

    Threads may share one. Methods raise StocksBlitzError when the server refuses a request, and httpx.TransportError
    when it cannot be reached.
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
        if sum(credential is not None for credential in (username, token, api_key)) != 1:
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
        """Send a GET and return its JSON; ``params`` and ``headers`` are those of httpx."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        """Send a POST with the body ``json`` and return its JSON."""
        return self.request("POST", path, **options)

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """Send a request and return its JSON, or None without a body; an expired token is renewed once."""
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
        """Return the Authorization header; sign in first when there is no token yet."""
        if self._api_key is not None:
            return {"Authorization": f"Api-Key {self._api_key}"}
        if not self._access:
            return self.renew({})
        return {"Authorization": f"Bearer {self._access}"}

    @property
    def renewable(self) -> bool:
        """Whether the token can be renewed; a fixed token and an API key cannot."""
        return self._api_key is None and not isinstance(self._token, str)

    def renew(self, used: dict[str, str]) -> dict[str, str]:
        """Return the header with a new token, unless another thread has renewed the used one already."""
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
        """Return every indicator with its parameters and parts; the reply is kept."""
        if self._catalogue is None:
            self._catalogue = list(self.get("/indicators/catalogue")["indicators"])
        return self._catalogue

    def ids(self, indicators: Sequence[IndicatorSpec]) -> list[str]:
        """Return the ids of indicators; raise ValueError when one is not an indicator."""
        order: Catalogue = {}
        if needs_catalogue(indicators):
            order = {entry["name"]: entry["params"] for entry in self.catalogue()}
        return ids_of(indicators, order)

    def close(self) -> None:
        """Close the connections of REST calls; streams and subscriptions have a close of their own."""
        self._http.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
