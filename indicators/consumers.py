"""The socket of one session: its requests and its end. Market data does not pass through here (see the hub)."""

import contextlib
import uuid
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from indicators.reads import snapshot
from indicators.subscriptions import requests
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import control
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.consumers import SocketConsumer, expiry
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.delivery.messages import Close
from stocksblitz.redis.keys import session_key

DELIBERATE = frozenset({1000, 1001})
"""Close codes by which a client says that it will not come back."""


class IndicatorConsumer(SocketConsumer):
    """Consumer of ``/ws/indicators``."""

    messages = wire.INDICATOR_MESSAGES

    async def open(self, ws_conn_id: str) -> Connection:
        session_id = self._asked_session()
        user_id = self.identity.user_id
        session = await subscriptions.open_session(
            user_id=user_id, session_id=session_id, login_id=self.identity.login_id, ws_conn_id=ws_conn_id
        )
        self.hub.set_session_store(subscriptions.touch, snapshot.resync)
        if session.replaces:
            # The process with the session's other socket reads which one is current, and closes its own.
            key = session_key(user_id, session_id)
            message = ControlMessage(action="resync", session_key=key, except_conn=ws_conn_id)
            await control.publish(message)
        client = self.new_connection(session_id, ws_conn_id)
        self.hub.register(client, stored=True)
        client.reply(
            {
                "type": "connected",
                "session_id": session_id,
                "ws_conn_id": ws_conn_id,
                "heartbeat_ms": settings.HEARTBEAT_MS,
                "expires_at": expiry(self.identity.expires_at),
                "retained": [
                    {"symbol": symbol, "timeframe": timeframe, "indicators": ids}
                    for symbol, timeframe, ids in session.retained
                ],
            }
        )
        return client

    async def replaced(self) -> str:
        who: dict[str, Any] = {"user_id": self.identity.user_id, "session_id": self._asked_session()}
        return await subscriptions.current_socket(**who) or ""

    def _asked_session(self) -> str:
        asked = parse_qs(self.scope.get("query_string", b"").decode("latin-1")).get("session_id", [""])[0]
        try:
            return str(uuid.UUID(asked)) if asked else str(uuid.uuid4())
        except ValueError:
            raise StocksBlitzError("invalid_parameter", "session_id is a UUID") from None

    async def end(self, client: Connection, code: int) -> None:
        who: dict[str, Any] = {"user_id": client.user_id, "session_id": client.session_id}
        if client.closing == Close.REPLACED:
            return
        with contextlib.suppress(StocksBlitzError):  # what cannot be written now expires by itself
            if (code in DELIBERATE and client.closing is None) or client.closing == Close.SESSION_ENDED:
                await subscriptions.end_session(**who, ws_conn_id=client.ws_conn_id)
            else:
                grace = settings.RECONNECT_GRACE
                await subscriptions.release_session(**who, ws_conn_id=client.ws_conn_id, grace_s=grace)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def on_subscribe(self, client: Connection, request: wire.Request) -> None:
        body = request.body
        symbol = requests.read_symbol(body.get("symbol"))
        timeframe = requests.read_timeframe(body.get("timeframe"))
        history, since_bar = wire.count_field(body, "history"), wire.count_field(body, "since_bar")
        if history is not None and since_bar is not None:
            raise StocksBlitzError("invalid_message", "give history or since_bar, not both")
        specs = requests.read_indicators(body.get("indicators"))
        async with client.lock, self.hub.holding((symbol, timeframe)):
            result = await subscriptions.subscribe(
                user_id=client.user_id,
                session_id=client.session_id,
                symbol=symbol,
                timeframe=timeframe,
                specs=specs,
                guard=lambda ids: snapshot.check_history(history, len(ids)),
            )
            reply = {
                "type": "subscribed",
                "id": request.id,
                "ws_conn_id": client.ws_conn_id,
                "symbol": symbol,
                "timeframe": timeframe,
                "indicators": list(result.ids),
            }
            await snapshot.join(
                self.hub,
                client,
                (symbol, timeframe),
                result.ids,
                history=history,
                since_bar=since_bar,
                reply=reply,
            )

    async def on_unsubscribe(self, client: Connection, request: wire.Request) -> None:
        symbol, timeframe, named = read_unsubscribe(request.body)
        async with client.lock:
            result = await subscriptions.unsubscribe(
                user_id=client.user_id,
                session_id=client.session_id,
                symbol=symbol,
                timeframe=timeframe,
                indicators=named,
            )
            left = result.ids(symbol, timeframe) if symbol and timeframe else {}
            snapshot.settle(self.hub, client, result.left)
            reply = {"type": "unsubscribed", "id": request.id, "symbol": symbol, "timeframe": timeframe}
            client.reply({**reply, "indicators": list(left)})

    async def on_list(self, client: Connection, request: wire.Request) -> None:
        rows = await subscriptions.listing(user_id=client.user_id, session_id=client.session_id)
        client.reply({"type": "subscriptions", "id": request.id, "subscriptions": rows})

    async def on_ping(self, client: Connection, request: wire.Request) -> None:
        named = requests.read_entries(request.body.get("subscriptions"), "indicator")
        alive = await subscriptions.heartbeat(
            user_id=client.user_id, session_id=client.session_id, entries=named
        )
        results = [
            {"symbol": symbol, "timeframe": timeframe, "indicator": indicator, "alive": is_alive}
            for (symbol, timeframe, indicator), is_alive in zip(named, alive, strict=True)
        ]
        client.reply({"type": "pong", "id": request.id, "results": results})


def read_unsubscribe(body: dict[str, Any]) -> tuple[str | None, str | None, list[str] | None]:
    """Return symbol, timeframe and ids of an unsubscribe; a level left out means all of it."""
    symbol, timeframe = body.get("symbol"), body.get("timeframe")
    named = requests.read_ids(body.get("indicators"))
    if (timeframe is not None and symbol is None) or (named is not None and timeframe is None):
        raise StocksBlitzError(
            "invalid_message", "a timeframe needs its symbol, indicators need their timeframe"
        )
    return (
        None if symbol is None else requests.read_text("symbol", symbol),
        None if timeframe is None else requests.read_timeframe(timeframe),
        named,
    )
