"""What may be done to a session: each request changes its record, and names the command that changes Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from indicators.engine.spec import Spec
from indicators.subscriptions import reference_counts
from indicators.subscriptions.reference_counts import Command, Expired, State
from indicators.subscriptions.repository import Key, Record
from indicators.subscriptions.state import Guard, Ids, Limits, StreamKey, asked_ids
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.store.instruments import unknown_symbol
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import computation


@dataclass(frozen=True, slots=True)
class Context:
    """What a group of requests shares: the time, the symbols and logins that were looked up, and what has expired."""

    now: datetime
    now_ms: int
    symbols: set[str]
    revoked: set[UUID]
    expired: Mapping[Key, list[Expired]]


class SessionRequest(Protocol):
    key: Key

    def change(self, record: Record, context: Context) -> Command | None:
        """Change the record (or raise StocksBlitzError and leave it as it is); return the command for Redis, if any."""

    def reply(self, answer: Any) -> Any:
        """Return the result, from Redis's answer (None where there was no command)."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Outcome of an open; ``retained``: (symbol, timeframe, asked ids) of the session; ``replaces``: it had a socket."""

    pk: int
    version: int
    retained: list[tuple[str, str, list[str]]]
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class SubscribeResult:
    """Outcome of a subscribe; ``ids``: all that the session now has on the stream, asked id to canonical id."""

    ids: Ids
    results: list[dict[str, Any]]

    @property
    def indicators(self) -> list[str]:
        return list(self.ids)


@dataclass(frozen=True, slots=True)
class UnsubscribeResult:
    """Outcome of an unsubscribe; ``left``: each stream that the session still has, ``results``: what was taken away."""

    left: dict[StreamKey, Ids]
    results: list[dict[str, Any]]

    def ids(self, symbol: str, timeframe: str) -> Ids:
        return self.left.get((symbol, timeframe), {})


def _state(record: Record, asked: Sequence[str] = (), *, extend: bool = True) -> State:
    return State(
        session_key=record.session_key,
        version=record.session.version,
        computations=record.subscriptions.computations(),
        asked=tuple(asked),
        ended=record.session.ended_at is not None,
        ws_conn_id=record.session.ws_conn_id,
        extend=extend,
    )


def _check_login(login_id: UUID | None, context: Context) -> None:
    if login_id in context.revoked:
        raise StocksBlitzError("session_ended", "this login has ended: sign in again")


def _drop_expired(record: Record, expired: Sequence[Expired]) -> bool:
    """Take away what has expired, unless the session changed since; return whether it lost anything."""
    names = {lost.computation for lost in expired if lost.version == record.session.version}
    rows = [
        row
        for row, canonical in record.subscriptions.rows().items()
        if computation(row[0], row[1], canonical) in names
    ]
    for symbol, timeframe, asked in rows:
        record.subscriptions.drop(symbol, timeframe, [asked])
    if rows:
        record.changed()
    return bool(rows)


@dataclass(slots=True)
class Open:
    """Begin a session, or take it over for another socket."""

    key: Key
    login_id: UUID | None
    ws_conn_id: str
    record: Record | None = None
    replaces: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        _check_login(self.login_id, context)
        if record.live:
            _drop_expired(record, context.expired.get(self.key, ()))
            self.replaces = bool(record.session.ws_conn_id)
        record.open(self.login_id)
        record.session.ws_conn_id = self.ws_conn_id
        self.record = record
        return reference_counts.apply(_state(record), context.now_ms)

    def reply(self, answer: Any) -> SessionInfo:
        assert self.record is not None
        retained = [
            (*stream, list(asked_ids(ids))) for stream, ids in self.record.subscriptions.streams.items()
        ]
        return SessionInfo(self.record.session.pk, self.record.session.version, retained, self.replaces)


@dataclass(slots=True)
class Subscribe:
    """Add to what a session has on a stream.

    ``create``: a session that is not there, or has ended, begins (REST); else that is an error (a late message).
    """

    key: Key
    symbol: str
    timeframe: str
    specs: Mapping[str, Spec]
    guard: Guard | None = None
    create: bool = False
    login_id: UUID | None = None
    ids: Ids = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    socket: str = ""
    """The session's open socket, where the request changed what it has."""

    def change(self, record: Record, context: Context) -> Command | None:
        if self.symbol not in context.symbols:
            raise unknown_symbol(self.symbol)
        if not record.live and not self.create:
            raise StocksBlitzError("session_ended", "this session has ended: open a new one")
        if not record.live:
            _check_login(self.login_id, context)
        limits = Limits(settings.WS_MAX_STREAMS, settings.WS_MAX_INDICATORS)
        before = record.subscriptions.rows()
        record.subscriptions.add((self.symbol, self.timeframe), self.specs, limits, self.guard)
        if not record.live:
            record.open(self.login_id)
        elif record.subscriptions.rows() != before:
            record.changed()
            self.socket = record.session.ws_conn_id
        self.ids = asked_ids(record.subscriptions.streams[self.symbol, self.timeframe])
        self.asked = [computation(self.symbol, self.timeframe, spec.id) for spec in self.specs.values()]
        return reference_counts.apply(_state(record, self.asked), context.now_ms)

    def reply(self, answer: Any) -> SubscribeResult:
        results = []
        counts = reference_counts.counts(self.asked, answer)
        for (asked, spec), count in zip(self.specs.items(), counts, strict=True):
            metrics.subscriptions.labels(self.symbol, self.timeframe, spec.id).inc()
            results.append({"indicator": asked, "new": count.before == 0, "ref_count": count.after})
        return SubscribeResult(self.ids, results)


@dataclass(slots=True)
class Unsubscribe:
    """Take away what matches; a level that is None means all of it."""

    key: Key
    symbol: str | None
    timeframe: str | None
    indicators: list[str] | None
    taken: dict[tuple[str, str, str], str] = field(default_factory=dict)
    left: dict[StreamKey, Ids] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    socket: str = ""

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live:
            return None
        self.taken = record.subscriptions.drop(self.symbol, self.timeframe, self.indicators)
        if self.taken:
            record.changed()
            self.socket = record.session.ws_conn_id
        self.left = {stream: asked_ids(ids) for stream, ids in record.subscriptions.streams.items()}
        self.asked = [computation(*row[:2], canonical) for row, canonical in self.taken.items()]
        return reference_counts.apply(_state(record, self.asked), context.now_ms)

    def reply(self, answer: Any) -> UnsubscribeResult:
        counts = reference_counts.counts(self.asked, answer or [])
        results = [
            {
                "symbol": symbol,
                "timeframe": timeframe,
                "indicator": asked,
                "last": count.before > 0 and count.after == 0,
                "ref_count": count.after,
            }
            for (symbol, timeframe, asked), count in zip(self.taken, counts, strict=True)
            if asked
        ]
        return UnsubscribeResult(self.left, results)


@dataclass(slots=True)
class End:
    """End a session; with ``ws_conn_id`` only while that socket is its current one."""

    key: Key
    ws_conn_id: str | None = None
    ended: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live or self.ws_conn_id not in (None, record.session.ws_conn_id):
            return None
        record.end(context.now)
        self.ended = True
        return reference_counts.apply(_state(record), context.now_ms)

    def reply(self, answer: Any) -> bool:
        return self.ended


@dataclass(slots=True)
class Release:
    """Have a session whose socket dropped expire after the grace, unless another socket has replaced it."""

    key: Key
    ws_conn_id: str
    grace_ms: int

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live or record.session.ws_conn_id != self.ws_conn_id:
            return None
        record.session.ws_conn_id = ""
        record.dirty = True
        until = context.now_ms + self.grace_ms
        return reference_counts.release(record.session_key, context.now_ms, self.ws_conn_id, until)

    def reply(self, answer: Any) -> bool:
        return bool(answer)


@dataclass(slots=True)
class Expire:
    """Remove from the database what has expired in Redis; the reply tells whether the session lost anything."""

    key: Key
    expired: Sequence[Expired]
    lost: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        self.lost = record.live and _drop_expired(record, self.expired)
        if not self.lost:
            return None
        return reference_counts.apply(_state(record, extend=False), context.now_ms)

    def reply(self, answer: Any) -> bool:
        return self.lost
