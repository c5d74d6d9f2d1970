"""What the engine asks of the database, in a thread of its own: loading, decisions, audits."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from portfolio.margin import types as margin_types
from portfolio.margin.fx import Graph
from portfolio.models import Account
from portfolio.services.loader import CHUNK, Catalogue, load
from portfolio.services.margin_enforcement import enforce, trigger
from portfolio.services.prices import priced, read_graph
from portfolio.valuation.drift_check import DriftSample, difference
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.redis.client import current_keys as realm
from stocksblitz.redis.client import sync_client
from stocksblitz.redis.keys import MOCK_TTL_S

log = logging.getLogger(__name__)

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    account: margin_types.MarginAccount
    revision: int
    state: str
    shard: int


def job(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work in a thread, and give its connection back: a pool of them is not ours to empty."""
    try:
        return work(*arguments)
    finally:
        close_old_connections()


class Store:
    """Accounts of the types that the running realm's prices are for. Every method is for a thread."""

    def of_shards(self, shards: Iterable[int]) -> dict[str, Loaded]:
        """All accounts of these shards; the public sets of holders get them too, should they be new or
        lost.
        """
        rows = Account.objects.filter(shard__in=list(shards), user_type__in=self._types())
        found = self._load(list(rows.select_related("group")))
        self._hold(found)
        return found

    def of_keys(self, keys: Iterable[str]) -> dict[str, Loaded]:
        """These accounts, as far as they are there."""
        names, rows = list(keys), []
        for start in range(0, len(names), CHUNK):
            part = Account.objects.filter(key__in=names[start : start + CHUNK], user_type__in=self._types())
            rows += list(part.select_related("group"))
        return self._load(rows)

    def _load(self, rows: list[Account]) -> dict[str, Loaded]:
        """Account and holdings are read one after the other: what was changed in between is read again."""
        catalogue, found = Catalogue(), {}
        while rows:
            accounts = load(rows, catalogue)
            now = self._revisions(rows)
            for row in rows:
                if now.get(row.pk) == row.revision:
                    found[row.key] = Loaded(accounts[row.key], row.revision, row.state, row.shard)
            again = [row.pk for row in rows if row.pk in now and row.key not in found]
            rows = list(Account.objects.filter(pk__in=again).select_related("group"))
        return found

    def _revisions(self, rows: list[Account]) -> dict[int, int]:
        found: dict[int, int] = {}
        for start in range(0, len(rows), CHUNK):
            ids = [row.pk for row in rows[start : start + CHUNK]]
            found |= dict(Account.objects.filter(pk__in=ids).values_list("pk", "revision"))
        return found

    def _types(self) -> list[str]:
        return [kind for kind in settings.PORTFOLIO_USER_TYPES if priced(kind)]

    def overview(self, shards: Iterable[int]) -> tuple[Graph, dict[str, int]]:
        """The pairs there are, and the revision of every account of these shards."""
        rows = Account.objects.filter(shard__in=list(shards), user_type__in=self._types())
        return read_graph(), dict(rows.values_list("key", "revision"))

    def _hold(self, found: dict[str, Loaded]) -> None:
        members: dict[str, list[str]] = {}
        for key, loaded in found.items():
            for symbol in {h.terms.symbol for h in loaded.account.positions}:
                members.setdefault(realm().holders(symbol, key.partition(":")[0]), []).append(key)
        pipe = sync_client().pipeline(transaction=False)
        for name, rows in members.items():
            for start in range(0, len(rows), BATCH):
                pipe.sadd(name, *rows[start : start + BATCH])
            if settings.FEED.mock:
                pipe.expire(name, MOCK_TTL_S)
        pipe.execute()

    def keep_holders(self, symbols: Iterable[str]) -> None:
        """In the mock realm sets end by themselves when nobody renews them."""
        if settings.FEED.mock:
            pipe = sync_client().pipeline(transaction=False)
            for symbol in symbols:
                for kind in settings.PORTFOLIO_USER_TYPES:
                    pipe.expire(realm().holders(symbol, kind), MOCK_TTL_S)
            pipe.execute()

    def enforce(self, keys: Iterable[str]) -> dict[str, int]:
        """Margin decisions, then orders: how much was decided about each account."""
        return self._each(lambda key: len(enforce(key)) + len(trigger(key)), keys)

    def trigger(self, keys: Iterable[str]) -> dict[str, int]:
        return self._each(lambda key: len(trigger(key)), keys)

    def _each(self, work: Callable[[str], int], keys: Iterable[str]) -> dict[str, int]:
        """One account after the other; one that fails is logged and stops no other."""
        done: dict[str, int] = {}
        for key in keys:
            try:
                done[key] = work(key)
            except StocksBlitzError as error:
                log.warning("%s", error.message, extra={"action": "decide", "account": key})
            except Exception:  # one account must not keep the others from their decision
                close_old_connections()
                log.exception("no decision", extra={"action": "decide", "account": key})
        return done

    def check_drift(self, sample: DriftSample) -> str | None:
        """Describe how the columns differ from the oracle; None also when the account has changed since."""
        found = self.of_keys([sample.key]).get(sample.key)
        return (
            None if found is None or found.revision != sample.revision else difference(sample, found.account)
        )
