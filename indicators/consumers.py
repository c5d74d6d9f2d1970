"""One tab's socket: what it asks for and how its session ends. Market data does not pass here (see the hub)."""

import contextlib
import uuid
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from indicators.engine.spec import Spec, parse_request
from indicators.reads import snapshot
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import control
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.consumers import SocketConsumer, expiry
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.delivery.messages import Close
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.redis.keys import session_key

DELIBERATE = frozenset({1000, 1001})
"""Close codes by which a client says that it will not come back."""


class IndicatorConsumer(SocketConsumer):
    """``/ws/indicators``."""

    messages = wire.INDICATOR_MESSAGES

    async def open(self, ws_conn_id: str) -> Connection:
        session_id = self._asked_session()
        user_id = self.identity.user_id
        session = await subscriptions.open_session(
            user_id=user_id, session_id=session_id, login_id=self.identity.login_id, ws_conn_id=ws_conn_id
        )
        self.hub.set_session_store(subscriptions.touch, snapshot.resync)
        if (
            session.replaces
        ):  # the process with the session's other socket reads which one is current, and closes it
            key = session_key(user_id, session_id)
            message = ControlMessage(action="resync", session_key=key, except_conn=ws_conn_id)
            await control.publish(self.hub.redis, message)
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
        with contextlib.suppress(StocksBlitzError):  # what cannot be written now runs out by itself
            if (code in DELIBERATE and client.closing is None) or client.closing == Close.SESSION_ENDED:
                await subscriptions.end_session(**who, ws_conn_id=client.ws_conn_id)
            else:
                grace = settings.RECONNECT_GRACE
                await subscriptions.release_session(**who, ws_conn_id=client.ws_conn_id, grace_s=grace)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def on_subscribe(self, client: Connection, request: wire.Request) -> None:
        body = request.body
        symbol = str(wire.text_field(body, "symbol"))
        timeframe = known_timeframe(str(wire.text_field(body, "timeframe")))
        history, since_bar = wire.count_field(body, "history"), wire.count_field(body, "since_bar")
        if history is not None and since_bar is not None:
            raise StocksBlitzError("invalid_message", "give history or since_bar, not both")
        specs = requested(body.get("indicators"))
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
        symbol = wire.text_field(request.body, "symbol", required=False)
        timeframe = wire.text_field(request.body, "timeframe", required=False)
        named = wire.list_field(request.body, "indicators")
        if timeframe is not None:
            known_timeframe(timeframe)
        if (timeframe is not None and symbol is None) or (named is not None and timeframe is None):
            raise StocksBlitzError(
                "invalid_message", "a timeframe needs its symbol, indicators need their timeframe"
            )
        if named is not None and not all(isinstance(each, str) for each in named):
            raise StocksBlitzError("invalid_message", "indicators is an array of ids")
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
        named = [ping_entry(each) for each in wire.list_field(request.body, "subscriptions") or []]
        alive = await subscriptions.heartbeat(
            user_id=client.user_id, session_id=client.session_id, entries=named
        )
        results = [
            {"symbol": symbol, "timeframe": timeframe, "indicator": indicator, "alive": is_alive}
            for (symbol, timeframe, indicator), is_alive in zip(named, alive, strict=True)
        ]
        client.reply({"type": "pong", "id": request.id, "results": results})


def known_timeframe(timeframe: str) -> str:
    if timeframe not in TIMEFRAMES:
        known = ", ".join(TIMEFRAMES)
        raise StocksBlitzError("unknown_timeframe", f"timeframe is one of {known}; got {timeframe[:40]!r}")
    return timeframe


def requested(indicators: Any) -> dict[str, Spec]:
    """The indicators of a request in any of its three forms; too many are refused before they are read."""
    if indicators is not None and not isinstance(indicators, dict | list):
        raise StocksBlitzError("invalid_message", "indicators is an object or an array")
    if indicators and len(indicators) > settings.WS_MAX_INDICATORS:
        raise StocksBlitzError("limit_exceeded", f"at most {settings.WS_MAX_INDICATORS} indicators a stream")
    return parse_request(indicators)


def ping_entry(entry: Any) -> tuple[str, str, str]:
    fields = ("symbol", "timeframe", "indicator")
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in fields):
        raise StocksBlitzError(
            "invalid_message", "each subscription has a symbol, a timeframe and an indicator"
        )
    if unknown := sorted(entry.keys() - set(fields)):
        raise StocksBlitzError(
            "invalid_message", f"a subscription of ping does not have the field {unknown[0][:40]!r}"
        )
    return entry["symbol"], entry["timeframe"], entry["indicator"]
