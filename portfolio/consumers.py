"""``/ws/portfolio``: the accounts that a socket watches. Updates of them are sent by `portfolio.realtime.watchers`."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User

from portfolio.margin.snapshot_decoder import NO_STAMP
from portfolio.realtime.watchers import Watchers, get_watchers, message
from portfolio.services.queries import current_snapshot, get_account
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import messages as wire
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.consumers import SocketConsumer, expiry
from stocksblitz.delivery.threads import in_database_thread

MOST_ACCOUNTS = 128


class PortfolioConsumer(SocketConsumer):
    messages = wire.PORTFOLIO_MESSAGES
    watchers: Watchers

    async def open(self, ws_conn_id: str) -> Connection:
        self.watchers = await get_watchers(self.hub)
        connection = self.new_connection(str(uuid.uuid4()), ws_conn_id)
        self.hub.register(connection)
        connection.reply(
            {
                "type": "connected",
                "session_id": connection.session_id,
                "ws_conn_id": ws_conn_id,
                "heartbeat_ms": settings.HEARTBEAT_MS,
                "expires_at": expiry(self.identity.expires_at),
                "retained": [],
            }
        )
        return connection

    async def end(self, connection: Connection, code: int) -> None:
        self.watchers.leave(connection)

    async def on_watch(self, connection: Connection, request: wire.Request) -> None:
        """Watch all of the accounts, or none: one that the user may not see refuses the message."""
        accounts = _accounts(request)
        async with connection.lock:
            wanted = {*accounts, *self.watchers.watched(connection)}
            if len(wanted) > MOST_ACCOUNTS:
                raise StocksBlitzError(
                    "limit_exceeded", f"at most {MOST_ACCOUNTS} accounts a socket: unwatch some"
                )
            await in_database_thread(_check, self.identity.user_id, accounts)
            for account in accounts:
                await self._send_snapshot(connection, account)

    async def _send_snapshot(self, connection: Connection, account: str) -> None:
        """Watch first and read then: what changes in between is newer than what is sent, and follows."""
        watch = self.watchers.watch(connection, account)
        watch.sent = None
        [(raw, stamp)] = await self.watchers.read([account])
        if stamp == NO_STAMP:
            raw = wire.encode(await in_database_thread(_computed, self.identity.user_id, account))
        connection.send(message("portfolio_snapshot", raw))
        watch.sent = stamp
        await self.watchers.deliver([account])

    async def on_unwatch(self, connection: Connection, request: wire.Request) -> None:
        self.watchers.unwatch(connection, _accounts(request))
        connection.reply(
            {"type": "unwatched", "id": request.id, "accounts": self.watchers.watched(connection)}
        )

    async def on_ping(self, connection: Connection, request: wire.Request) -> None:
        connection.reply({"type": "pong", "id": request.id, "results": []})


def _accounts(request: wire.Request) -> list[str]:
    named = wire.list_field(request.body, "accounts")
    if not named or not all(isinstance(account, str) for account in named):
        raise StocksBlitzError("invalid_message", 'accounts is an array of keys such as "live:12345"')
    return list(dict.fromkeys(named))


def _check(user_id: int, accounts: list[str]) -> None:
    user = User.objects.get(pk=user_id)
    for account in accounts:
        get_account(user, account, doing="watch")


def _computed(user_id: int, account: str) -> dict[str, Any]:
    return current_snapshot(get_account(User.objects.get(pk=user_id), account, doing="watch"))
