"""``/ws/portfolio``: the accounts that a socket watches. What moves in them does not pass here (see
`watching`).
"""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User

from portfolio.realtime.watchers import NOTHING, Watches, get_watches, message, stamp_of
from portfolio.services.queries import current_snapshot, get_account
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.consumers import SocketConsumer, expiry
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.redis.client import current_keys

MOST_ACCOUNTS = 128


class PortfolioConsumer(SocketConsumer):
    messages = wire.PORTFOLIO_MESSAGES
    watches: Watches

    async def open(self, ws_conn_id: str) -> Connection:
        self.watches = await get_watches(self.hub)
        client = self.new_connection(str(uuid.uuid4()), ws_conn_id)
        self.hub.register(client)
        client.reply(
            {
                "type": "connected",
                "session_id": client.session_id,
                "ws_conn_id": ws_conn_id,
                "heartbeat_ms": settings.HEARTBEAT_MS,
                "expires_at": expiry(self.identity.expires_at),
                "retained": [],
            }
        )
        return client

    async def end(self, client: Connection, code: int) -> None:
        self.watches.leave(client)

    async def on_watch(self, client: Connection, request: wire.Request) -> None:
        """All of the accounts, or none: one that is not the user's refuses the message."""
        accounts = _accounts(request)
        async with client.lock:
            wanted = {*accounts, *self.watches.watched(client)}
            if len(wanted) > MOST_ACCOUNTS:
                raise StocksBlitzError(
                    "limit_exceeded", f"at most {MOST_ACCOUNTS} accounts a socket: unwatch some"
                )
            await in_database_thread(_check, self.identity.user_id, accounts)
            for account in accounts:
                await self._send_snapshot(client, account)

    async def _send_snapshot(self, client: Connection, account: str) -> None:
        """Watch first, read then: what changes in between is newer than what is sent, and follows."""
        watch = self.watches.watch(client, account)
        watch.sent = None
        raw = await self.hub.redis.get(current_keys().snapshot(account))
        if raw is None:
            raw = wire.encode(await in_database_thread(_computed, self.identity.user_id, account))
        client.send(message("portfolio_snapshot", raw))
        watch.sent = stamp_of(raw) or NOTHING
        await self.watches.deliver([account])

    async def on_unwatch(self, client: Connection, request: wire.Request) -> None:
        self.watches.unwatch(client, _accounts(request))
        client.reply({"type": "unwatched", "id": request.id, "accounts": self.watches.watched(client)})

    async def on_ping(self, client: Connection, request: wire.Request) -> None:
        client.reply({"type": "pong", "id": request.id, "results": []})


def _accounts(request: wire.Request) -> list[str]:
    named = wire.list_field(request.body, "accounts")
    if not named or not all(isinstance(each, str) for each in named):
        raise StocksBlitzError("invalid_message", 'accounts is an array of keys such as "live:12345"')
    return list(dict.fromkeys(named))


def _check(user_id: int, accounts: list[str]) -> None:
    user = User.objects.get(pk=user_id)
    for account in accounts:
        get_account(user, account, doing="watch")


def _computed(user_id: int, account: str) -> dict[str, Any]:
    return current_snapshot(get_account(User.objects.get(pk=user_id), account, doing="watch"))
