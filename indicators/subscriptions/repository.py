"""Sessions and subscriptions as rows: read for a group of requests, and written back in bulk where they changed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from uuid import UUID

from indicators.models import Session, Subscription
from indicators.subscriptions.state import SessionSubscriptions
from stocksblitz.identity.models import Login
from stocksblitz.redis.keys import session_key

CHUNK = 500
"""Parameters of one IN list."""

type Key = tuple[int, str]
"""User and session id."""


@dataclass(slots=True)
class Record:
    """One session as a group of requests works on it; ``dirty`` once it has to be written."""

    session: Session
    subscriptions: SessionSubscriptions = field(default_factory=SessionSubscriptions)
    stored: dict[tuple[str, str, str], int] = field(default_factory=dict)
    dirty: bool = False

    @property
    def session_key(self) -> str:
        return session_key(self.session.user_id, str(self.session.session_id))

    @property
    def live(self) -> bool:
        """Opened and not ended."""
        return self.session.version > 0 and self.session.ended_at is None

    def changed(self) -> None:
        """Note a change: it is a new version, and has to be written."""
        self.session.version += 1
        self.dirty = True

    def open(self, login_id: UUID | None) -> None:
        """Begin the session, also again after an end."""
        self.session.ended_at = None
        self.session.login_id = login_id
        self.changed()

    def end(self, now: datetime) -> None:
        self.subscriptions = SessionSubscriptions()
        self.session.ended_at = now
        self.session.ws_conn_id = ""
        self.changed()


def load(keys: Iterable[Key]) -> dict[Key, Record]:
    """Return the records of these sessions, locked until the transaction ends; a session that is not there is blank."""
    wanted = sorted(set(keys))
    records = {key: Record(Session(user_id=key[0], session_id=UUID(key[1]))) for key in wanted}
    for chunk in batched(wanted, CHUNK):
        found = Session.objects.filter(
            user_id__in={k[0] for k in chunk}, session_id__in={k[1] for k in chunk}
        )
        for session in found.select_for_update().order_by("pk"):
            key = (session.user_id, str(session.session_id))
            if (
                key in records
            ):  # the filter matches users and ids separately: a stream may be another user's session
                records[key].session = session
    _load_rows({r.session.pk: r for r in records.values() if r.session.pk})
    return records


def _load_rows(by_pk: dict[int, Record]) -> None:
    for chunk in batched(by_pk, CHUNK):
        rows = Subscription.objects.filter(session_id__in=chunk).order_by("pk")
        columns = rows.values_list("pk", "session_id", "symbol", "timeframe", "indicator", "canonical")
        for pk, session_pk, symbol, timeframe, indicator, canonical in columns.iterator():
            record = by_pk[session_pk]
            record.subscriptions.streams.setdefault((symbol, timeframe), {})[indicator] = canonical
            record.stored[symbol, timeframe, indicator] = pk


def revoked(login_ids: set[UUID]) -> set[UUID]:
    """Return the logins that have ended or are gone; the others cannot end before the transaction does."""
    if not login_ids:
        return set()
    valid = (
        Login.objects.filter(pk__in=login_ids, revoked_at=None).select_for_update(no_key=True).order_by("pk")
    )
    return login_ids - set(valid.values_list("pk", flat=True))


_FIELDS = ["login", "ws_conn_id", "version", "last_seen", "ended_at"]


def save(records: Iterable[Record], now: datetime) -> None:
    """Write the records that changed: sessions first, then the rows that were removed and those that are new."""
    dirty = [record for record in records if record.dirty]
    for record in dirty:
        record.session.last_seen = now
    fresh = [record.session for record in dirty if record.session.pk is None]
    known = [record.session for record in dirty if record.session.pk is not None]
    if fresh:
        Session.objects.bulk_create(fresh)
    if known:
        Session.objects.bulk_create(known, update_conflicts=True, unique_fields=["id"], update_fields=_FIELDS)
    for chunk in batched(_removed(dirty), CHUNK):
        Subscription.objects.filter(pk__in=chunk).delete()
    added = list(_added(dirty))
    if added:
        Subscription.objects.bulk_create(added, batch_size=CHUNK)


def _removed(records: list[Record]) -> Iterator[int]:
    for record in records:
        rows = record.subscriptions.rows()
        yield from (pk for row, pk in record.stored.items() if row not in rows)


def _added(records: list[Record]) -> Iterator[Subscription]:
    for record in records:
        for (symbol, timeframe, indicator), canonical in record.subscriptions.rows().items():
            if (symbol, timeframe, indicator) not in record.stored:
                yield Subscription(
                    session_id=record.session.pk,
                    symbol=symbol,
                    timeframe=timeframe,
                    indicator=indicator,
                    canonical=canonical,
                )
