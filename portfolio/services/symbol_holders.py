"""Who holds what, in Redis: the public sets ``symbol_holders:{symbol}:{type}``, derived from the database.

Anybody may write into these sets. A key of another type is replaced; a member that is no account is skipped.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import batched
from typing import Any

from django.conf import settings

from portfolio.models import KEY_PATTERN, Account, Position
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, sync_client
from stocksblitz.redis.decoding import BadData
from stocksblitz.redis.keys import MOCK_TTL_S, Keys

BATCH = 1000
bad_holders = BadDataLog("symbol_holders")
_account_key = re.compile(KEY_PATTERN.encode(), re.ASCII)
Holders = tuple[str, str]
"""Symbol and user type: what one set is of."""


def holders_prefix(names: Keys) -> str:
    """Return what the name of every such set begins with."""
    return names.holders("", "").removesuffix(":")


def decode_holders(answer: Iterable[bytes] | Exception, user_type: str) -> tuple[set[str], list[BadData]]:
    """Return the accounts of the type among the members of a set, and what is wrong with the others."""
    if isinstance(answer, Exception):
        return set(), [BadData("key", str(answer), "a set")]
    prefix = f"{user_type}:".encode()
    good, others = set(), []
    for member in answer:
        if member.startswith(prefix) and _account_key.fullmatch(member):
            good.add(member.decode())
        else:
            others.append(member)
    return good, [BadData("member", others[0], f"a key such as {user_type}:1")] if others else []


def sync(account: Account, symbols: Iterable[str]) -> None:
    """Put the account into the sets of what it holds, and take it out of those of the other ``symbols``.

    Two writers may get here in either order. Each looks again after it wrote, and the one that had read before the
    other's commit then sees a newer revision and writes once more.
    """
    touched = set(symbols)
    while touched:
        revision = _revision(account)
        held = _held_symbols(account)
        kind, key = account.user_type, {account.key}
        change_holders(
            add={(symbol, kind): key for symbol in held}, remove={(s, kind): key for s in touched - held}
        )
        if _revision(account) == revision:
            return


def _revision(account: Account) -> int:
    return Account.objects.values_list("revision", flat=True).get(pk=account.pk)


def _held_symbols(account: Account) -> set[str]:
    rows = Position.objects.filter(account_id=account.pk, status=Position.Status.OPEN)
    return set(rows.values_list("instrument__symbol", flat=True))


def change_holders(
    add: Mapping[Holders, Iterable[str | bytes]], remove: Mapping[Holders, Iterable[str | bytes]]
) -> None:
    """Add and remove members of many sets in one round trip; a key that is no set is replaced by one."""
    commands = [*_commands("sadd", add), *_commands("srem", remove)]
    pipe = sync_client().pipeline(transaction=False)
    for command, name, members in commands:
        getattr(pipe, command)(name, *members)
    for (command, name, members), answer in zip(commands, each_answer_sync(pipe), strict=True):
        if isinstance(answer, Exception):
            _replace(name, members if command == "sadd" else ())
    renew({name for _, name, _ in commands})


Command = tuple[str, str, tuple[str | bytes, ...]]


def _commands(command: str, rows: Mapping[Holders, Iterable[str | bytes]]) -> Iterator[Command]:
    for holders, members in rows.items():
        for part in batched(members, BATCH):
            yield command, current_keys().holders(*holders), part


def _replace(name: str, members: Iterable[str | bytes]) -> None:
    """Put a set with these members in the place of a key of another type."""
    bad_holders.report(name, BadData("key", name, "a set"))
    sync_client().delete(name)
    if members:
        sync_client().sadd(name, *members)


def renew(names: Iterable[str]) -> None:
    """Let these sets live on: in the mock realm they end by themselves when nobody renews them."""
    if settings.FEED.mock:
        pipe = sync_client().pipeline(transaction=False)
        for name in names:
            pipe.expire(name, MOCK_TTL_S)
        pipe.execute()


def holders_by_database() -> dict[Holders, set[str]]:
    """Return who holds what by the database."""
    rows = Position.objects.filter(status=Position.Status.OPEN)
    found: dict[Holders, set[str]] = defaultdict(set)
    columns = ("instrument__symbol", "account__user_type", "account__key")
    for symbol, kind, key in rows.values_list(*columns).iterator():
        found[symbol, kind].add(key)
    return found


def rebuild() -> tuple[int, int]:
    """Make the sets exactly what the database says; return how many members were added and removed."""
    wanted = holders_by_database()
    add: dict[Holders, set[bytes]] = {}
    remove: dict[Holders, set[bytes]] = {}
    for holders in _sets_in_redis() | set(wanted):
        there = _members(current_keys().holders(*holders))
        want = {key.encode() for key in wanted.get(holders, ())}
        add[holders], remove[holders] = want - there, there - want
    change_holders(add, remove)
    renew(current_keys().holders(*holders) for holders in wanted)
    return sum(map(len, add.values())), sum(map(len, remove.values()))


def _sets_in_redis() -> set[Holders]:
    prefix = holders_prefix(current_keys())
    names = (name.decode(errors="replace") for name in sync_client().scan_iter(f"{prefix}*", count=BATCH))
    return {
        (symbol, kind) for name in names for symbol, _, kind in [name.removeprefix(prefix).rpartition(":")]
    }


def _members(name: str) -> set[bytes]:
    """Return the members of a set; a key of another type is deleted."""
    if sync_client().type(name) not in (b"set", b"none"):
        sync_client().delete(name)
    found: Any = sync_client().smembers(name)
    return set(found)
