"""Who watches which accounts in this process, and the way of a snapshot from Redis to their sockets.

The engine only names the accounts that changed. What is watched here is then read in one command and
written, as it is, to every socket that watches it. A name that was lost is made up for by a look at the
versions, and at the events in the database, every two seconds.
"""

import asyncio
import logging
import re
import weakref
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.db import DatabaseError
from redis.exceptions import RedisError

from portfolio.realtime.missed_events import Missed
from portfolio.services.announcements import events
from portfolio.worker.snapshot_writer import updates
from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.hub import Hub
from stocksblitz.delivery.messages import encode, text_frame
from stocksblitz.redis.client import current_keys
from stocksblitz.workers.runtime import now_ms

log = logging.getLogger(__name__)

CHECK_S = 2.0
SKEW_MS = 1_000
"""By so much clocks of several machines may differ."""
Stamp = tuple[int, int]
_STAMP = re.compile(rb'\{"epoch":(\d+),"version":(\d+)')
NOTHING: Stamp = (0, 0)


def stamp_of(raw: bytes | None) -> Stamp:
    """Epoch and version of a snapshot; (0, 0) where there is none."""
    found = _STAMP.match(raw or b"")
    return (int(found[1]), int(found[2])) if found else NOTHING


def message(kind: str, raw: bytes) -> bytes:
    """A snapshot as it stands in Redis, as a framed message."""
    return text_frame(b'{"type":"%b",%b' % (kind.encode(), raw[1:]))


@dataclass(slots=True)
class Watch:
    """What a socket was last sent of an account; None until its snapshot is out."""

    sent: Stamp | None = None
    since_ms: int = field(default_factory=now_ms)
    """What happened before is in the account's journal, and not told."""


class Watches:
    """Of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = weakref.proxy(hub)
        self._names = current_keys()
        self._missed = Missed()
        self._of: dict[str, dict[Connection, Watch]] = defaultdict(dict)

    async def start(self) -> None:
        await self._hub.listen(updates(self._names), self._on_updates)
        await self._hub.listen(events(self._names), self._on_event)
        self._hub.spawn(self._check_always())

    def leave(self, client: Connection) -> None:
        self.unwatch(client, list(self._of))

    def watch(self, client: Connection, account: str) -> Watch:
        return self._of[account].setdefault(client, Watch())

    def unwatch(self, client: Connection, accounts: Iterable[str]) -> None:
        for account in accounts:
            watchers = self._of.get(account)
            if watchers is not None:
                watchers.pop(client, None)
                if not watchers:
                    del self._of[account]

    def watched(self, client: Connection) -> list[str]:
        return sorted(account for account, watchers in self._of.items() if client in watchers)

    # --- From Redis to the sockets

    def _on_updates(self, data: bytes) -> None:
        changed = [account for account in orjson.loads(data)["accounts"] if account in self._of]
        if changed:
            self._hub.spawn(self.deliver(changed))

    async def deliver(self, accounts: list[str]) -> None:
        """Send the newest snapshot of these accounts to whoever has not had it."""
        try:
            found = await self._hub.redis.mget([self._names.snapshot(account) for account in accounts])
        except (RedisError, OSError) as error:
            log.debug("snapshots not read, will be at the next look: %s", error)
            return
        for account, raw in zip(accounts, found, strict=True):
            stamp = stamp_of(raw)
            framed = b""
            for client, watch in list(self._of.get(account, {}).items()):
                # A socket that is full gets the newest one at a later look.
                if watch.sent is not None and watch.sent < stamp and not client.slow:
                    framed = framed or message("portfolio_update", raw)
                    watch.sent = stamp
                    client.send(framed)

    async def _check_always(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            behind = await self._behind()
            if behind:
                await self.deliver(behind)
            await self._make_up()

    async def _make_up(self) -> None:
        """Tell of events whose notification was lost, or never sent because Redis was away."""
        accounts = list(self._of)
        if not accounts:
            self._missed.idle()
            return
        try:
            found = await database_sync_to_async(self._missed.find, thread_sensitive=False)(accounts)
        except (DatabaseError, OSError) as error:
            log.debug("events not looked for, will be at the next look: %s", error)
            return
        for account, event in found:
            self._tell(account, event)

    async def _behind(self) -> list[str]:
        """Accounts of which some socket has not had the newest snapshot."""
        accounts = list(self._of)
        pipe = self._hub.redis.pipeline(transaction=False)
        for account in accounts:
            pipe.getrange(self._names.snapshot(account), 0, 63)
        try:
            stamps = [stamp_of(raw) for raw in await pipe.execute()] if accounts else []
        except (RedisError, OSError):
            return []
        return [
            account
            for account, stamp in zip(accounts, stamps, strict=True)
            if any(w.sent is not None and w.sent < stamp for w in self._of.get(account, {}).values())
        ]

    def _on_event(self, data: bytes) -> None:
        told: dict[str, Any] = orjson.loads(data)
        self._tell(told["account"], told["event"])

    def _tell(self, account: str, event: dict[str, Any]) -> None:
        watchers = self._of.get(account)
        if watchers and self._missed.note(event["id"]):
            framed = text_frame(encode({"type": "margin_event", "account": account, **event}))
            for client, watch in list(watchers.items()):
                if watch.since_ms <= event["ts"] + SKEW_MS:
                    client.send(framed)


_watches: "weakref.WeakKeyDictionary[Hub, Watches]" = weakref.WeakKeyDictionary()


async def get_watches(hub: Hub) -> Watches:
    """The watches of a hub, listening."""
    watches = _watches.get(hub)
    if watches is None:
        watches = _watches[hub] = Watches(hub)
        await watches.start()
    return watches
