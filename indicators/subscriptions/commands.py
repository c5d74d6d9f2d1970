"""What may be done to a session, each a request that changes its record and tells Redis the outcome."""

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
from indicators.subscriptions.state import Guard, Ids, Limits, Pair, asked_ids
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.store.instruments import unknown_symbol
from stocksblitz.observability import metrics
from stocksblitz.redis.keys import Keys, computation


@dataclass(frozen=True, slots=True)
class Context:
    """What a group of requests shares: names, time, the symbols and logins that were looked up, what ran out."""

    keys: Keys
    now: datetime
    now_ms: int
    symbols: set[str]
    revoked: set[UUID]
    lapsed: Mapping[Key, list[Expired]]


class SessionRequest(Protocol):
    key: Key

    def change(self, record: Record, context: Context) -> Command | None:
        """Change the record (or raise StocksBlitzError and leave it as it is); returns what Redis is to be told."""

    def reply(self, answer: Any) -> Any:
        """The result, from Redis's answer (None where there was nothing to tell)."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """``retained``: (symbol, timeframe, asked ids) that the session still has. ``replaces``: it had another socket."""

    pk: int
    version: int
    retained: list[tuple[str, str, list[str]]]
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class SubscribeResult:
    """``ids``: all that the session now has on the pair, asked id to canonical id."""

    ids: Ids
    results: list[dict[str, Any]]

    @property
    def indicators(self) -> list[str]:
        return list(self.ids)


@dataclass(frozen=True, slots=True)
class UnsubscribeResult:
    """``left``: every pair that the session still has, with its ids; ``results``: what was taken or named."""

    left: dict[Pair, Ids]
    results: list[dict[str, Any]]

    def ids(self, symbol: str, timeframe: str) -> Ids:
        return self.left.get((symbol, timeframe), {})


def _state(record: Record, asked: Sequence[str] = (), *, extend: bool = True) -> State:
    return State(
        member=record.member,
        version=record.session.version,
        computations=record.wants.computations(),
        asked=tuple(asked),
        ended=record.session.ended_at is not None,
        ws_conn_id=record.session.ws_conn_id,
        extend=extend,
    )


def _check_login(login_id: UUID | None, context: Context) -> None:
    if login_id in context.revoked:
        raise StocksBlitzError("session_ended", "this login has ended: sign in again")


def _lapse(record: Record, gone: Sequence[Expired]) -> bool:
    """Take away what ran out, unless the session changed since; returns whether anything went."""
    left = {each.computation for each in gone if each.version == record.session.version}
    rows = [
        row
        for row, canonical in record.wants.rows().items()
        if computation(row[0], row[1], canonical) in left
    ]
    for symbol, timeframe, asked in rows:
        record.wants.drop(symbol, timeframe, [asked])
    if rows:
        record.changed()
    return bool(rows)


@dataclass(slots=True)
class Open:
    key: Key
    login_id: UUID | None
    ws_conn_id: str
    record: Record | None = None
    replaces: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        _check_login(self.login_id, context)
        if record.live:
            _lapse(record, context.lapsed.get(self.key, ()))
            self.replaces = bool(record.session.ws_conn_id)
        record.open(self.login_id)
        record.session.ws_conn_id = self.ws_conn_id
        self.record = record
        return reference_counts.apply(context.keys, _state(record), context.now_ms)

    def reply(self, answer: Any) -> SessionInfo:
        assert self.record is not None
        retained = [(*pair, list(asked_ids(ids))) for pair, ids in self.record.wants.pairs.items()]
        return SessionInfo(self.record.session.pk, self.record.session.version, retained, self.replaces)


@dataclass(slots=True)
class Subscribe:
    """``create``: a session that is not there, or has ended, begins (REST); else that is an error (a late message)."""

    key: Key
    symbol: str
    timeframe: str
    specs: Mapping[str, Spec]
    guard: Guard | None = None
    create: bool = False
    login_id: UUID | None = None
    ids: Ids = field(default_factory=dict)
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
        before = record.wants.rows()
        record.wants.add((self.symbol, self.timeframe), self.specs, limits, self.guard)
        if not record.live:
            record.open(self.login_id)
        elif record.wants.rows() != before:
            record.changed()
            self.socket = record.session.ws_conn_id
        self.ids = asked_ids(record.wants.pairs[self.symbol, self.timeframe])
        asked = [computation(self.symbol, self.timeframe, spec.id) for spec in self.specs.values()]
        return reference_counts.apply(context.keys, _state(record, asked), context.now_ms)

    def reply(self, answer: Any) -> SubscribeResult:
        results = []
        for (asked, spec), count in zip(self.specs.items(), reference_counts.counts(answer), strict=True):
            metrics.subscriptions.labels(self.symbol, self.timeframe, spec.id).inc()
            results.append({"indicator": asked, "new": count.before == 0, "ref_count": count.after})
        return SubscribeResult(self.ids, results)


@dataclass(slots=True)
class Unsubscribe:
    key: Key
    symbol: str | None
    timeframe: str | None
    indicators: list[str] | None
    taken: dict[tuple[str, str, str], str] = field(default_factory=dict)
    left: dict[Pair, Ids] = field(default_factory=dict)
    socket: str = ""

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live:
            return None
        self.taken = record.wants.drop(self.symbol, self.timeframe, self.indicators)
        if self.taken:
            record.changed()
            self.socket = record.session.ws_conn_id
        self.left = {pair: asked_ids(ids) for pair, ids in record.wants.pairs.items()}
        asked = [computation(symbol, timeframe, each) for (symbol, timeframe, _), each in self.taken.items()]
        return reference_counts.apply(context.keys, _state(record, asked), context.now_ms)

    def reply(self, answer: Any) -> UnsubscribeResult:
        counts = reference_counts.counts(answer or [])
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
    """With ``ws_conn_id`` it counts only while that socket is the session's current one."""

    key: Key
    ws_conn_id: str | None = None
    ended: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live or self.ws_conn_id not in (None, record.session.ws_conn_id):
            return None
        record.end(context.now)
        self.ended = True
        return reference_counts.apply(context.keys, _state(record), context.now_ms)

    def reply(self, answer: Any) -> bool:
        return self.ended


@dataclass(slots=True)
class Release:
    """The socket dropped: what it had runs out after the grace, unless it has been replaced."""

    key: Key
    ws_conn_id: str
    grace_ms: int

    def change(self, record: Record, context: Context) -> Command | None:
        if not record.live or record.session.ws_conn_id != self.ws_conn_id:
            return None
        record.session.ws_conn_id = ""
        record.dirty = True
        until = context.now_ms + self.grace_ms
        return reference_counts.release(context.keys, record.member, self.ws_conn_id, until)

    def reply(self, answer: Any) -> bool:
        return bool(answer)


@dataclass(slots=True)
class Expire:
    """What ran out in Redis leaves the database too; returns whether the session lost anything."""

    key: Key
    gone: Sequence[Expired]
    lost: bool = False

    def change(self, record: Record, context: Context) -> Command | None:
        self.lost = record.live and _lapse(record, self.gone)
        if not self.lost:
            return None
        return reference_counts.apply(context.keys, _state(record, extend=False), context.now_ms)

    def reply(self, answer: Any) -> bool:
        return self.lost
