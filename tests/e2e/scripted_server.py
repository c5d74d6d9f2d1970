"""A scripted WebSocket server for the browser client, and a page that holds the client."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, WebSocketRoute

from tests.conftest import PATIENCE_S, eventually

ORIGIN = "http://localhost:9999"
STATIC = Path(__file__).resolve().parent.parent.parent / "static"
T0 = 1_763_634_900_000
MINUTE = 60_000


def bar(minute: int, closed: bool = False) -> dict[str, Any]:
    ts = T0 + minute * MINUTE
    return {"ts": ts, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0, "closed": closed}


def update(seq: int, minute: int, closed: bool = False, epoch: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "type": "market_update", "symbol": "X", "timeframe": "1min", "timestamp": "", "epoch": epoch, "seq": seq,
        "ohlcv": bar(minute, closed), "greeks": None, "oi": None, "indicators": {}, "source": "simulated", "stale": False,
    } | more  # fmt: skip


class ScriptedServer:
    """Speaks the protocol to every page of a context and remembers what they said."""

    def __init__(self, context: BrowserContext) -> None:
        self.sockets: list[WebSocketRoute] = []
        self.urls: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.tickets: list[dict[str, str]] = []
        self.connected: dict[str, Any] = {"heartbeat_ms": 60_000, "expires_at": None, "retained": []}
        self.answers: Callable[[dict[str, Any]], list[dict[str, Any]]] = self.answer
        self.ticket_status = 200
        context.route(f"{ORIGIN}/**", self._serve)
        context.route_web_socket(re.compile("ws://localhost:9999/"), self.open)

    def _serve(self, route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path == "/auth/ws-ticket":
            self.tickets.append(route.request.headers)
            route.fulfill(
                status=self.ticket_status, json={"ticket": f"t{len(self.tickets)}", "expires_in": 30}
            )
        elif path.startswith("/static/"):
            script = (STATIC / path.removeprefix("/static/")).read_text()
            route.fulfill(content_type="text/javascript", body=script)
        else:
            route.fulfill(
                content_type="text/html",
                body="<title>empty</title>",
                headers={"Set-Cookie": "csrftoken=c5rf"},
            )

    def open(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        self.urls.append(socket.url)
        socket.on_message(lambda text: self._hear(socket, text))
        self._tell(socket, {"type": "connected", "session_id": "s", "ws_conn_id": "w", **self.connected})

    def _hear(self, socket: WebSocketRoute, text: str | bytes) -> None:
        message = json.loads(text)
        self.heard.append(message)
        for reply in self.answers(message):
            self._tell(socket, reply)

    @staticmethod
    def _tell(socket: WebSocketRoute, message: dict[str, Any]) -> None:
        socket.send(json.dumps(message))

    def tell(self, message: dict[str, Any]) -> None:
        self._tell(self.sockets[-1], message)

    @staticmethod
    def answer(message: dict[str, Any]) -> list[dict[str, Any]]:
        """What a healthy server says."""
        pair = {name: message.get(name) for name in ("symbol", "timeframe")}
        if message["type"] == "subscribe":
            ids = list(message["indicators"])
            past = [[T0 - MINUTE, 1, 2, 0.5, 1.5, 10]] if message.get("history") else []
            history = {
                "bars": past,
                "indicators": {each: [None] * len(past) for each in ids},
                "complete": True,
            }
            return [
                {"type": "subscribed", "id": message["id"], "ws_conn_id": "w", **pair, "indicators": ids},
                {**update(10, 0), "type": "snapshot", **pair, "history": history},
            ]
        if message["type"] == "unsubscribe":
            return [{"type": "unsubscribed", "id": message.get("id"), **pair, "indicators": []}]
        if message["type"] == "list":
            return [{"type": "subscriptions", "id": message["id"], "subscriptions": [{"symbol": "X"}]}]
        if message["type"] == "heartbeat":
            return [{"type": "heartbeat_ack", "ts": T0}]
        return []

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["type"] == kind]


def open_client(page: Page, options: str = "{}", connect: bool = True) -> None:
    """A page whose ``client`` writes every event into ``events``."""
    if not page.url.startswith(ORIGIN):
        page.goto(f"{ORIGIN}/")
    page.evaluate(
        """async (connect) => {
            const { StocksBlitzClient } = await import("/static/js/stocksblitz-client.js");
            window.events = [];
            window.client = new StocksBlitzClient(OPTIONS);
            for (const name of ["update", "snapshot", "state", "lagged", "gap", "error"])
                client.on(name, (payload) => events.push([name, payload instanceof Error
                    ? { code: payload.code, message: payload.message, retryable: payload.retryable } : payload]));
            if (connect) await client.connect();
        }""".replace("OPTIONS", options),
        connect,
    )


def heard(page: Page, server: "ScriptedServer", kind: str, count: int = 1) -> None:
    """Wait until the server has heard so many messages of the kind."""

    def has_heard() -> bool:
        page.wait_for_timeout(10)  # which lets the server hear
        return len(server.sent(kind)) >= count

    eventually(has_heard, what=f"{count} times {kind}")


def until(page: Page, condition: str, timeout: float = PATIENCE_S * 1000) -> None:
    page.wait_for_function(condition, timeout=timeout, polling=20)


def events(page: Page, name: str) -> list[Any]:
    return page.evaluate(
        "(name) => events.filter(([one]) => one === name).map(([, payload]) => payload)", name
    )


def subscribe(page: Page, indicators: str = '["RSI_14"]', symbol: str = "X", history: int = 1) -> Any:
    return page.evaluate(f'client.subscribe("{symbol}", "1min", {indicators}, {{history: {history}}})')


def outcome(page: Page, call: str) -> dict[str, Any]:
    """How a promise that should fail failed."""
    return page.evaluate(
        f"{call}.then(() => null, (error) => ({{code: error.code, message: error.message, retryable: error.retryable}}))"
    )
