"""What the engine asks of the database, in threads of its own: accounts, margin settings, decisions, drift checks."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.db.models import QuerySet

from portfolio.margin.fx import Graph
from portfolio.margin.types import MarginAccount
from portfolio.models import Account
from portfolio.services.loader import CHUNK, Catalogue, load
from portfolio.services.margin_enforcement import enforce, trigger
from portfolio.services.margin_settings import MarginSettings, accounts_affected, read_margin_settings
from portfolio.services.prices import priced, read_graph
from portfolio.services.symbol_holders import change_holders, renew
from portfolio.valuation.drift_check import DriftSample, difference
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.client import current_keys

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedAccount:
    """One account as it was read: what it holds, and the row's revision, last notified state and shard."""

    account: MarginAccount
    revision: int
    state: str
    shard: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The database as a sweep compares it: pairs of currencies, revisions, accounts whose margin settings changed."""

    graph: Graph
    revisions: dict[str, int]
    affected: set[str]


def run_and_release_connection(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``work`` in a thread of a pool, and give the thread's database connection back after it."""
    try:
        return work(*arguments)
    finally:
        close_old_connections()


class Store:
    """Accounts of the types that the running realm's prices are for. All methods but the decisions are for one thread."""

    def __init__(self) -> None:
        self._settings: MarginSettings | None = None

    def of_shards(self, shards: Collection[int]) -> dict[str, LoadedAccount]:
        """Load all accounts of these shards, and put them into the public sets of holders."""
        if (
            self._settings is None
        ):  # read before the accounts: what changes meanwhile is found by the next sweep
            self._settings = read_margin_settings()
        found = self._load(list(self._accounts().filter(shard__in=shards)))
        self._add_to_holders(found)
        return found

    def of_keys(self, keys: Iterable[str]) -> dict[str, LoadedAccount]:
        """Load these accounts, as far as they exist."""
        names, rows = list(keys), []
        for start in range(0, len(names), CHUNK):
            rows += list(self._accounts().filter(key__in=names[start : start + CHUNK]))
        return self._load(rows)

    def _accounts(self) -> QuerySet[Account]:
        kinds = [kind for kind in settings.PORTFOLIO_USER_TYPES if priced(kind)]
        return Account.objects.filter(user_type__in=kinds).select_related("group")

    def _load(self, rows: list[Account]) -> dict[str, LoadedAccount]:
        """Read what the accounts hold; an account that was changed between the two reads is read again."""
        catalogue, found = Catalogue(), {}
        while rows:
            accounts = load(rows, catalogue)
            now = self._revisions(rows)
            for row in rows:
                if now.get(row.pk) == row.revision:
                    found[row.key] = LoadedAccount(accounts[row.key], row.revision, row.state, row.shard)
            again = [row.pk for row in rows if row.pk in now and row.key not in found]
            rows = list(Account.objects.filter(pk__in=again).select_related("group"))
        return found

    def _revisions(self, rows: list[Account]) -> dict[int, int]:
        found: dict[int, int] = {}
        for start in range(0, len(rows), CHUNK):
            ids = [row.pk for row in rows[start : start + CHUNK]]
            found |= dict(Account.objects.filter(pk__in=ids).values_list("pk", "revision"))
        return found

    def overview(self, shards: Collection[int]) -> Overview:
        """Read what a sweep compares; margin settings are compared with those of the sweep before."""
        now = read_margin_settings()
        affected = set() if self._settings is None else accounts_affected(self._settings, now, shards)
        revisions = dict(self._accounts().filter(shard__in=shards).values_list("key", "revision"))
        overview = Overview(read_graph(), revisions, affected & revisions.keys())
        self._settings = now
        return overview

    def _add_to_holders(self, found: dict[str, LoadedAccount]) -> None:
        members: dict[tuple[str, str], list[str]] = {}
        for key, loaded in found.items():
            for symbol in {h.terms.symbol for h in loaded.account.positions}:
                members.setdefault((symbol, key.partition(":")[0]), []).append(key)
        change_holders(add=members, remove={})

    def renew_holders(self, symbols: Iterable[str]) -> None:
        """Let the public sets of these symbols live on."""
        kinds = settings.PORTFOLIO_USER_TYPES
        renew(current_keys().holders(symbol, kind) for symbol in symbols for kind in kinds)

    def enforce(self, keys: Iterable[str]) -> dict[str, int]:
        """Decide about margin levels, then about orders; return how much was decided about each account."""
        return self._decide_each(lambda key: len(enforce(key)) + len(trigger(key)), keys)

    def trigger(self, keys: Iterable[str]) -> dict[str, int]:
        """Decide about pending orders; return how many were done of each account."""
        return self._decide_each(lambda key: len(trigger(key)), keys)

    def _decide_each(self, decide: Callable[[str], int], keys: Iterable[str]) -> dict[str, int]:
        """Decide about one account after the other; one that fails is logged and stops no other."""
        done: dict[str, int] = {}
        for key in keys:
            try:
                done[key] = decide(key)
            except StocksBlitzError as error:
                log.warning("%s", error.message, extra={"action": "decide", "account": key})
            except Exception:  # one account must not keep the others from their decision
                close_old_connections()
                log.exception("no decision", extra={"action": "decide", "account": key})
        return done

    def check_drift(self, sample: DriftSample) -> str | None:
        """Describe how the columns differ from the oracle; None also when the account or its settings have changed."""
        found = self.of_keys([sample.key]).get(sample.key)
        if found is None or found.revision != sample.revision:
            return None
        text = difference(sample, found.account)
        return None if text and read_margin_settings() != self._settings else text
