"""The control channel: how any process tells the web processes that access ended or subscriptions changed.

Messages are JSON in one group of the channel layer, and the hub of every web process listens. Market data never passes
here. A message that is lost with a connection costs nothing: after each reconnect every session is read again.
"""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import orjson
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from stocksblitz.delivery.messages import Close
from stocksblitz.redis.client import realm_keys
from stocksblitz.redis.decoding import BadData, decode_json

log = logging.getLogger(__name__)

ACTIONS = ("close", "resync", "verify")
MAX_LENGTH = 4096
_TYPES: dict[str, type] = {"user_id": int, "code": int}
"""Of fields that are no strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlMessage:
    """What is to happen with which connections.

    ``close`` ends them with ``code``; ``resync`` reads their subscriptions again, which changed behind their backs;
    ``verify`` checks the credentials of all connections. The first two name one session by its key, or a user and, where
    not all of the user's connections are meant, a login or a session. ``ws_conn_id`` is the only connection meant,
    ``except_conn`` the only one that is not.
    """

    action: str
    session_key: str | None = None
    user_id: int | None = None
    login_id: str | None = None
    session_id: str | None = None
    ws_conn_id: str | None = None
    except_conn: str | None = None
    code: int = int(Close.SESSION_ENDED)

    def encode(self) -> bytes:
        return orjson.dumps({name: value for name, value in asdict(self).items() if value is not None})


def decode_control(raw: bytes) -> ControlMessage:
    """Return a control message; raise BadData for anything else."""
    data = decode_json("control", raw, MAX_LENGTH)
    try:
        message = ControlMessage(**data)
    except TypeError:
        raise BadData("control", data, "the fields of a control message") from None
    for name, value in asdict(message).items():
        if type(value) not in (_TYPES.get(name, str), type(None)):
            raise BadData(name, value, "a value of another type")
    if message.action not in ACTIONS:
        raise BadData("action", message.action, f"one of {', '.join(ACTIONS)}")
    if message.code not in set(Close):
        raise BadData("code", message.code, "a close code")
    return message


def group() -> str:
    """Return the group of the channel layer that the hub of every web process is in."""
    return realm_keys(mock=False).name("control").replace(":", ".")


async def publish(message: ControlMessage) -> None:
    """Publish one message. A Redis that is away is logged: what was decided stands in the database."""
    await _send([message])


def publish_sync(messages: Iterable[ControlMessage]) -> None:
    """Publish messages from a thread without an event loop, in the same way."""
    if messages := list(messages):
        async_to_sync(_send)(messages)


async def _send(messages: list[ControlMessage]) -> None:
    layer = get_channel_layer()
    try:
        for message in messages:
            await layer.group_send(group(), {"type": "control", "message": message.encode()})
    except (RedisError, OSError) as error:
        log.warning("control messages were not sent: %s", error, extra={"action": "control_lost"})
