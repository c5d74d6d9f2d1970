"""Histories as tables."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = ("open", "high", "low", "close", "volume")


def as_table(reply: Mapping[str, Any], as_frame: bool | None) -> Any:
    """Return a DataFrame or a list of dicts (``ts`` and the columns); with None, a DataFrame if pandas is installed."""
    pandas = _pandas(as_frame)
    bars = reply["bars"]
    columns: dict[str, list[Any]] = {name: [bar[at] for bar in bars] for at, name in enumerate(COLUMNS, 1)}
    for name, values in reply["indicators"].items():
        columns.update(_columns(name, values))
    opened = [bar[0] for bar in bars]
    if pandas is None:
        return [
            {"ts": ts, **{name: values[at] for name, values in columns.items()}}
            for at, ts in enumerate(opened)
        ]
    index = pandas.DatetimeIndex(pandas.to_datetime(opened, unit="ms", utc=True), name="time")
    return pandas.DataFrame(columns, index=index)


def _pandas(as_frame: bool | None) -> Any:
    if as_frame is False:
        return None
    try:
        return importlib.import_module("pandas")
    except ImportError:
        if as_frame:
            raise
        return None


def _columns(name: str, values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield one column for an indicator of one value, and one column per part for the others."""
    parts = list(dict.fromkeys(part for value in values if isinstance(value, Mapping) for part in value))
    if not parts:
        yield name, values
    for part in parts:
        yield f"{name}.{part}", [value.get(part) if isinstance(value, Mapping) else None for value in values]
