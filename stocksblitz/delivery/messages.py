"""Every message and close code of the WebSockets: parsed and built here (docs/protocol.md tells connections of them)."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from stocksblitz.api.errors import StocksBlitzError

ID_LENGTH = 128
"""Characters of the longest ``id`` of a request."""


class Close(enum.IntEnum):
    """1001, 1012 and 4000–4499: come back. 4500–4999: stop."""

    GOING_AWAY = 1001
    RESTART = 1012
    TRY_AGAIN = 4000
    TOO_SLOW = 4008
    TOO_MANY_MESSAGES = 4029
    NOT_AUTHENTICATED = 4501
    FORBIDDEN = 4503
    SESSION_ENDED = 4508
    TOO_MANY_CONNECTIONS = 4509
    REPLACED = 4510
    MESSAGE_TOO_LARGE = 4513


CLIENT_FIELDS: dict[str, frozenset[str]] = {
    "subscribe": frozenset({"symbol", "timeframe", "indicators", "history", "since_bar"}),
    "unsubscribe": frozenset({"symbol", "timeframe", "indicators"}),
    "list": frozenset(),
    "heartbeat": frozenset(),
    "authenticate": frozenset({"token"}),
    "ping": frozenset({"subscriptions"}),
    "watch": frozenset({"accounts"}),
    "unwatch": frozenset({"accounts"}),
}
INDICATOR_MESSAGES = frozenset({"subscribe", "unsubscribe", "list", "heartbeat", "authenticate", "ping"})
PORTFOLIO_MESSAGES = frozenset({"watch", "unwatch", "heartbeat", "authenticate", "ping"})
SERVER_MESSAGES = frozenset(
    {
        "connected", "subscribed", "snapshot", "market_update", "lagged", "unsubscribed", "subscriptions",
        "heartbeat_ack", "authenticated", "pong", "error",
        "portfolio_snapshot", "portfolio_update", "margin_event", "unwatched",
    }
)  # fmt: skip


type RequestId = str | int | None
"""What a connection calls its request: it comes back in the answer exactly as it was sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """A connection's message of the right shape; the receiver judges what its values mean."""

    type: str
    id: RequestId
    body: dict[str, Any]


def parse(text: str | bytes, known: frozenset[str]) -> Request:
    """Read a connection's message; raise ``invalid_json``, ``invalid_message`` or ``unknown_type``.

    The error carries the message's ``id`` (attribute ``request_id``) as soon as that is known.
    """
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StocksBlitzError(
            "invalid_json", f"expected one JSON object; it does not parse: {error}"
        ) from None
    if not isinstance(message, dict):
        raise StocksBlitzError("invalid_message", f"expected a JSON object, not {_kind(message)}")
    request_id = _request_id(message.pop("id", None))
    try:
        return _request(message, request_id, known)
    except StocksBlitzError as error:
        error.request_id = request_id  # type: ignore[attr-defined]  # no other error has one
        raise


def _request_id(value: Any) -> RequestId:
    """Return the id, or refuse one that could not come back as it was sent (JSON's larger numbers lose digits)."""
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise StocksBlitzError(
            "invalid_message", f"id is a string or an integer of at most 64 bits; got {str(value)[:40]}"
        )
    if isinstance(value, str) and len(value) > ID_LENGTH:
        raise StocksBlitzError("invalid_message", f"id has at most {ID_LENGTH} characters")
    return value


def _request(message: dict[str, Any], request_id: RequestId, known: frozenset[str]) -> Request:
    if "type" not in message and message.get("action") == "ping":
        message["type"] = message.pop("action")
    kind = message.pop("type", None)
    if not isinstance(kind, str):
        raise StocksBlitzError("invalid_message", 'expected "type" with the name of a message')
    if kind not in known:
        raise StocksBlitzError(
            "unknown_type", f"expected type to be one of {', '.join(sorted(known))}; got {kind[:40]!r}"
        )
    unknown = sorted(set(message) - CLIENT_FIELDS[kind])
    if unknown:
        raise StocksBlitzError(
            "invalid_message", f"{kind} does not have the field {unknown[0][:40]!r}; take it out"
        )
    return Request(kind, request_id, message)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", dict: "an object", list: "an array", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


def text_field(body: dict[str, Any], name: str, *, required: bool = True) -> str | None:
    """A string of the message, or None where it may be left out."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise StocksBlitzError("invalid_message", f"{name} is a string, not {_kind(value)}")
    return value


def count_field(body: dict[str, Any], name: str) -> int | None:
    """A whole number of at least zero, or None where it was left out."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value > 2**53:
        raise StocksBlitzError("invalid_message", f"{name} is a whole number from 0, not {str(value)[:40]}")
    return value


def list_field(body: dict[str, Any], name: str) -> list[Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise StocksBlitzError("invalid_message", f"{name} is an array, not {_kind(value)}")
    return value


def iso(ms: int) -> str:
    """Milliseconds UTC as ISO 8601."""
    stamp = datetime.fromtimestamp(ms / 1000, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(message: dict[str, Any]) -> bytes:
    """A message as JSON; floats that JSON does not know come out as null."""
    return orjson.dumps(message)


def error(failure: StocksBlitzError, request_id: Any = None) -> dict[str, Any]:
    return {
        "type": "error",
        "id": request_id,
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def text_frame(payload: bytes) -> bytes:
    """The payload as one unmasked, unfragmented WebSocket text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)
