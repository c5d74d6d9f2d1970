"""Who watches which accounts in this process, and the way of a snapshot from Redis to their sockets.

The engine only names the accounts that changed. Those that are watched here are read in one command and written, as they
are, to every socket that watches them. Every two seconds a check makes up for what was lost: it compares the versions,
looks for events in the database, and ends what a user may no longer see.
"""

import asyncio
import logging
import weakref
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError
from redis.exceptions import RedisError

from portfolio.margin.snapshot_decoder import Stamp, stamp_at_head
from portfolio.realtime.announcement_decoders import decode_event, decode_updates
from portfolio.realtime.missed_events import MissedEvents
from portfolio.services.announcements import events
from portfolio.services.queries import still_visible
from portfolio.services.snapshots import checked_stamp
from portfolio.worker.snapshot_writer import updates
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.hub import Hub
from stocksblitz.delivery.messages import Close, encode, error, text_frame
from stocksblitz.delivery.threads import in_database_thread
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

CHECK_S = 2.0
CLOCK_SKEW_MS = 1_000
"""The clocks of several machines may differ by so much."""


def message(kind: str, raw: bytes) -> bytes:
    """Return a snapshot as it stands in Redis as a framed message."""
    return text_frame(b'{"type":"%b",%b' % (kind.encode(), raw[1:]))


@dataclass(slots=True)
class Watch:
    """What a socket was last sent of an account; None until its snapshot is out."""

    sent: Stamp | None = None
    since_ms: int = field(default_factory=now_ms)
    """Events before this are in the account's journal, and not sent."""


class Watchers:
    """The watched accounts of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = weakref.proxy(hub)
        self._names = current_keys()
        self._missed = MissedEvents()
        self._watches: dict[str, dict[Connection, Watch]] = defaultdict(dict)
        self._bad_messages = BadDataLog("portfolio_announcement")

    async def start(self) -> None:
        await self._hub.listen(updates(self._names), self._on_updates)
        await self._hub.listen(events(self._names), self._on_event)
        self._hub.spawn(self._check_forever())

    def leave(self, connection: Connection) -> None:
        """Forget a socket that has ended."""
        self.unwatch(connection, list(self._watches))

    def watch(self, connection: Connection, account: str) -> Watch:
        """Let the socket watch an account."""
        return self._watches[account].setdefault(connection, Watch())

    def unwatch(self, connection: Connection, accounts: Iterable[str]) -> None:
        """Let the socket watch these accounts no longer."""
        for account in accounts:
            watchers = self._watches.get(account)
            if watchers is not None:
                watchers.pop(connection, None)
                if not watchers:
                    del self._watches[account]

    def watched(self, connection: Connection) -> list[str]:
        """Return the accounts that the socket watches."""
        return sorted(account for account, watchers in self._watches.items() if connection in watchers)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is watched."""
        return not self._watches

    # --- From Redis to the sockets

    def _on_updates(self, data: bytes) -> None:
        with self._bad_messages.skip("updates"):
            changed = [account for account in decode_updates(data) if account in self._watches]
            if changed:
                self._hub.spawn(self.deliver(changed))

    async def read(self, accounts: list[str]) -> list[tuple[bytes, Stamp]]:
        """Read the snapshots of these accounts; the stamp is `NO_STAMP` where there is none, or only junk."""
        found = await self._hub.redis.mget([self._names.snapshot(account) for account in accounts])
        return [
            (raw or b"", checked_stamp(raw, account)) for account, raw in zip(accounts, found, strict=True)
        ]

    async def deliver(self, accounts: list[str]) -> None:
        """Send the newest snapshot of these accounts to whoever has not had it."""
        try:
            found = await self.read(accounts)
        except (RedisError, OSError) as failure:
            log.debug("snapshots not read, will be at the next check: %s", failure)
            return
        for account, (raw, stamp) in zip(accounts, found, strict=True):
            framed = b""
            for connection, watch in list(self._watches.get(account, {}).items()):
                # A socket that is full gets the newest one at a later check.
                if watch.sent is not None and watch.sent < stamp and not connection.slow:
                    framed = framed or message("portfolio_update", raw)
                    watch.sent = stamp
                    connection.send(framed)

    def _on_event(self, data: bytes) -> None:
        with self._bad_messages.skip("events"):
            self._send_event(*decode_event(data))

    def _send_event(self, account: str, event: dict[str, Any]) -> None:
        watchers = self._watches.get(account)
        if watchers and self._missed.note(event["id"]):
            framed = text_frame(encode({"type": "margin_event", "account": account, **event}))
            for connection, watch in list(watchers.items()):
                if watch.since_ms <= event["ts"] + CLOCK_SKEW_MS:
                    connection.send(framed)

    # --- The check

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            if not self._watches:
                self._missed.forget()
                continue
            for check in (self._end_what_is_hidden, self._deliver_missed_snapshots, self._send_missed_events):
                try:
                    await check()
                except (RedisError, DatabaseError, OSError) as failure:
                    log.debug("%s failed, will be tried at the next check: %s", check.__name__, failure)

    async def _end_what_is_hidden(self) -> None:
        """End the watches on accounts that their user may no longer see: another owner, no longer staff, deleted."""
        watched: dict[int, set[str]] = defaultdict(set)
        pairs = [
            (connection, account)
            for account, connections in self._watches.items()
            for connection in connections
        ]
        for connection, account in pairs:
            watched[connection.user_id].add(account)
        active, visible = await in_database_thread(still_visible, watched)
        for connection, account in pairs:
            if connection.user_id not in active:
                connection.close(Close.SESSION_ENDED, "the user is deactivated")
            if (connection.user_id, account) not in visible:
                self._end_watch(connection, account)

    def _end_watch(self, connection: Connection, account: str) -> None:
        self.unwatch(connection, [account])
        failure = StocksBlitzError("not_found", f"there is no account {account!r} of yours any more")
        connection.reply(error(failure))

    async def _deliver_missed_snapshots(self) -> None:
        """Send the snapshots that some socket has not had although they are in Redis."""
        accounts = list(self._watches)
        pipe = self._hub.redis.pipeline(transaction=False)
        for account in accounts:
            pipe.getrange(self._names.snapshot(account), 0, 63)
        heads = await each_answer(pipe)
        behind = [
            account
            for account, head in zip(accounts, heads, strict=True)
            if isinstance(head, bytes) and self._is_behind(account, stamp_at_head(head))
        ]
        if behind:
            await self.deliver(behind)

    def _is_behind(self, account: str, stamp: Stamp) -> bool:
        watches = self._watches.get(account, {}).values()
        return any(watch.sent is not None and watch.sent < stamp for watch in watches)

    async def _send_missed_events(self) -> None:
        """Send events whose announcement was lost, or never made because Redis was away."""
        for account, event in await in_database_thread(self._missed.find, list(self._watches)):
            self._send_event(account, event)


_watchers: "weakref.WeakKeyDictionary[Hub, Watchers]" = weakref.WeakKeyDictionary()


async def get_watchers(hub: Hub) -> Watchers:
    """Return the watchers of a hub, listening."""
    watchers = _watchers.get(hub)
    if watchers is None:
        watchers = _watchers[hub] = Watchers(hub)
        await watchers.start()
    return watchers
