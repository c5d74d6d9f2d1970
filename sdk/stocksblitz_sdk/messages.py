"""What a stream delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stocksblitz_sdk.indicators import Indicator, KnownIndicator

Value = float | Mapping[str, float | None] | None
"""A number, the parts of an indicator that has several, or None while it is not known yet."""


class Bar(NamedTuple):
    """``ts`` is the opening time, ms UTC; ``closed``: the bar stays as it is."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


class Reading(NamedTuple):
    """An indicator's value at the bar that opened at ``ts``; ``ready``: there were bars enough for it."""

    ts: int
    value: Value
    ready: bool


@dataclass(frozen=True)
class History:
    """Closed bars, oldest first, and a value per bar for each indicator. ``complete``: as many as were asked
    for."""

    bars: list[Bar]
    indicators: dict[str, list[Value]]
    complete: bool


@dataclass(frozen=True)
class Update:
    """One moment of one stream.

    ``history`` is what was asked for before the first moment, and only there. ``replayed``: a bar that closed
    while the connection was away. ``stale``: the price is older than its feed allows.
    """

    symbol: str
    timeframe: str
    bar: Bar | None
    indicators: dict[str, Reading]
    greeks: Mapping[str, Any] | None = None
    oi: Mapping[str, Any] | None = None
    timestamp: str = ""
    epoch: str = ""
    seq: int = 0
    source: str = ""
    stale: bool = False
    replayed: bool = False
    history: History | None = field(default=None, repr=False)

    def __getitem__(self, indicator: str | KnownIndicator) -> Value:
        """The value of an indicator, by id or as it was asked for; KeyError when it was not."""
        name = indicator.id() if isinstance(indicator, Indicator) else indicator
        return self.indicators[name].value


def bar_of(row: list[Any]) -> Bar:
    """A closed bar from ``[ts, open, high, low, close, volume]``."""
    ts, opened, high, low, close, volume = row[:6]
    return Bar(ts, opened, high, low, close, volume, True)


def update_of(message: Mapping[str, Any], history: History | None = None) -> Update:
    """From a ``market_update`` or a ``snapshot``."""
    ohlcv = message.get("ohlcv")
    return Update(
        symbol=message["symbol"],
        timeframe=message["timeframe"],
        bar=Bar(*(ohlcv[name] for name in Bar._fields)) if ohlcv else None,
        indicators={
            name: Reading(each["ts"], each["value"], each["ready"])
            for name, each in message["indicators"].items()
        },
        greeks=message.get("greeks"),
        oi=message.get("oi"),
        timestamp=message.get("timestamp") or "",
        epoch=str(message.get("epoch", "")),
        seq=message.get("seq") or 0,
        source=message.get("source") or "",
        stale=bool(message.get("stale")),
        history=history,
    )


def history_of(raw: Mapping[str, Any] | None) -> History:
    raw = raw or {}
    bars = [bar_of(row) for row in raw.get("bars", [])]
    return History(bars, dict(raw.get("indicators", {})), bool(raw.get("complete", True)))


def joined(older: History, newer: History) -> History:
    """Two stretches of the same indicators, one after the other; as complete as the older one."""
    values = {
        name: older.indicators.get(name, [None] * len(older.bars)) + rest
        for name, rest in newer.indicators.items()
    }
    return History(older.bars + newer.bars, values, older.complete)


def replayed(message: Mapping[str, Any], history: History, after: int) -> list[Update]:
    """The closed bars of a snapshot's history that are newer than ``after``, each as an update of its own."""
    return [
        Update(
            symbol=message["symbol"],
            timeframe=message["timeframe"],
            bar=bar,
            indicators={
                name: Reading(bar.ts, values[at], values[at] is not None)
                for name, values in history.indicators.items()
            },
            epoch=str(message.get("epoch", "")),
            source=message.get("source") or "",
            replayed=True,
        )
        for at, bar in enumerate(history.bars)
        if bar.ts > after
    ]
