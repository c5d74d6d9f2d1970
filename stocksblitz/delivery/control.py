"""Orders to whatever web process holds a session's socket: close it, or read its subscriptions again.

They travel in the channel layer's group ``control``; the hub of every web process listens. Market data never does.
"""

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from stocksblitz.delivery.messages import Close

log = logging.getLogger(__name__)

GROUP = "control"


def order(
    action: str,
    member: str,
    *,
    code: int = Close.SESSION_ENDED,
    ws_conn_id: str | None = None,
    except_conn: str | None = None,
) -> dict[str, Any]:
    """One order. ``close`` ends the session's socket with that code (only ``ws_conn_id``, or all but ``except_conn``,
    where given); ``resync`` has its subscriptions read again, because they changed behind the socket's back; ``verify``,
    for no one member, has the credentials of every socket looked at again.
    """
    return {
        "type": "control",
        "action": action,
        "member": member,
        "code": int(code),
        "ws_conn_id": ws_conn_id,
        "except_conn": except_conn,
    }


async def send(orders: list[dict[str, Any]]) -> None:
    """Send orders. A channel layer that is away is logged, not raised: what was decided stands in the database."""
    layer = get_channel_layer()
    try:
        for each in orders:
            await layer.group_send(GROUP, each)
    except (RedisError, OSError) as error:
        log.warning("control orders were not sent: %s", error, extra={"action": "control_lost"})


async def announce(action: str, member: str, **options: Any) -> None:
    """Send one order; options as in `order`."""
    await send([order(action, member, **options)])


def send_sync(orders: list[dict[str, Any]]) -> None:
    """The same from a thread without an event loop."""
    if orders:
        async_to_sync(send)(orders)
