"""Updates, bars and histories, made from the server's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stocksblitz_sdk.indicators import Indicator, KnownIndicator

Value = float | Mapping[str, float | None] | None
"""A number, a mapping of parts (for an indicator that has several), or None while the indicator warms up."""


class Bar(NamedTuple):
    """One bar: ``ts`` is its opening time in ms UTC; a ``closed`` bar no longer changes."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


class IndicatorValue(NamedTuple):
    """Value of an indicator at the bar that opened at ``ts``; ``ready`` says whether its warm-up is over."""

    ts: int
    value: Value
    ready: bool


@dataclass(frozen=True)
class History:
    """Closed bars, oldest first, with one value per bar for each indicator.

    ``complete`` says whether the server had as many bars as were requested.
    """

    bars: list[Bar]
    indicators: dict[str, list[Value]]
    complete: bool


@dataclass(frozen=True)
class Update:
    """State of one stream at one moment.

    ``history`` is set in the first update alone, with the bars that were requested. A ``replayed`` update is a bar
    that closed while the connection was lost. A ``stale`` update has a price older than its feed allows.
    """

    symbol: str
    timeframe: str
    bar: Bar | None
    indicators: dict[str, IndicatorValue]
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
        """Return the value of an indicator, given by id or object; raise KeyError when it is not subscribed to."""
        name = indicator.id() if isinstance(indicator, Indicator) else indicator
        return self.indicators[name].value


def bar_of(row: list[Any]) -> Bar:
    """Make a closed bar from ``[ts, open, high, low, close, volume]``."""
    ts, opened, high, low, close, volume = row[:6]
    return Bar(ts, opened, high, low, close, volume, True)


def update_of(message: Mapping[str, Any], history: History | None = None) -> Update:
    """Make an update from a ``market_update`` or a ``snapshot``."""
    ohlcv = message.get("ohlcv")
    return Update(
        symbol=message["symbol"],
        timeframe=message["timeframe"],
        bar=Bar(*(ohlcv[name] for name in Bar._fields)) if ohlcv else None,
        indicators={
            name: IndicatorValue(entry["ts"], entry["value"], entry["ready"])
            for name, entry in message["indicators"].items()
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
    """Make a history from the server's JSON; None is an empty history."""
    raw = raw or {}
    bars = [bar_of(row) for row in raw.get("bars", [])]
    return History(bars, dict(raw.get("indicators", {})), bool(raw.get("complete", True)))


def concatenate(older: History, newer: History) -> History:
    """Append the newer history to the older one; the result is as complete as the older one."""
    values = {
        name: older.indicators.get(name, [None] * len(older.bars)) + rest
        for name, rest in newer.indicators.items()
    }
    return History(older.bars + newer.bars, values, older.complete)


def replayed_updates(message: Mapping[str, Any], history: History, after: int) -> list[Update]:
    """Return an update for each closed bar of a snapshot's history that opened later than ``after``."""
    return [
        Update(
            symbol=message["symbol"],
            timeframe=message["timeframe"],
            bar=bar,
            indicators={
                name: IndicatorValue(bar.ts, values[at], values[at] is not None)
                for name, values in history.indicators.items()
            },
            epoch=str(message.get("epoch", "")),
            source=message.get("source") or "",
            replayed=True,
        )
        for at, bar in enumerate(history.bars)
        if bar.ts > after
    ]
