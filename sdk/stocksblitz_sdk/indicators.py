"""Indicators and their ids: ``RSI(14)`` is ``RSI_14``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Catalogue = Mapping[str, Sequence[Mapping[str, Any]]]
"""Indicator name to its parameters, in order, each with ``name`` and ``default``."""


def _text(value: object) -> str:
    """A parameter as it stands in an id: 2.0 is 2."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Indicator:
    """An indicator by its name in the catalogue and its parameters by name: ``Indicator("CCI",
    length=20)``."""

    def __init__(self, name: str, **params: float | str) -> None:
        self.name = name
        self.params = params

    def __repr__(self) -> str:
        return f"Indicator({self.name!r}, {', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def id(self, catalogue: Catalogue) -> str:
        """The id. Parameters that are left out before one that is given take their defaults; ValueError when
        one is not known."""
        order = catalogue.get(self.name)
        if order is None:
            raise ValueError(f"there is no indicator {self.name!r}; see Client.catalogue()")
        names = [str(each["name"]) for each in order]
        if unknown := [each for each in self.params if each not in names]:
            raise ValueError(
                f"{self.name} has no parameter {unknown[0]!r}; there are {', '.join(names) or 'none'}"
            )
        last = max((names.index(each) for each in self.params), default=-1)
        values = [self.params.get(str(each["name"]), each["default"]) for each in order[: last + 1]]
        return "_".join([self.name, *(_text(value) for value in values)])


class KnownIndicator(Indicator):
    """One whose parameters' order is known here, so that its id needs no catalogue."""

    def id(self, catalogue: Catalogue | None = None) -> str:
        return "_".join([self.name, *(_text(value) for value in self.params.values())])

    def __str__(self) -> str:
        return self.id()


def RSI(length: int = 14) -> KnownIndicator:
    return KnownIndicator("RSI", length=length)


def MACD(fast: int = 12, slow: int = 26, signal: int = 9) -> KnownIndicator:
    return KnownIndicator("MACD", fast=fast, slow=slow, signal=signal)


def SMA(length: int = 20) -> KnownIndicator:
    return KnownIndicator("SMA", length=length)


def EMA(length: int = 20) -> KnownIndicator:
    return KnownIndicator("EMA", length=length)


def BBANDS(length: int = 20, std: float = 2.0) -> KnownIndicator:
    return KnownIndicator("BBANDS", length=length, std=std)


def ATR(length: int = 14) -> KnownIndicator:
    return KnownIndicator("ATR", length=length)


def ADX(length: int = 14) -> KnownIndicator:
    return KnownIndicator("ADX", length=length)


def STOCH(k: int = 14, d: int = 3, smooth_k: int = 3) -> KnownIndicator:
    return KnownIndicator("STOCH", k=k, d=d, smooth_k=smooth_k)


def SUPERTREND(length: int = 10, multiplier: float = 3.0) -> KnownIndicator:
    return KnownIndicator("SUPERTREND", length=length, multiplier=multiplier)


def VWAP() -> KnownIndicator:
    return KnownIndicator("VWAP")


Asked = Indicator | str | Mapping[str, Any]
"""How an indicator is asked for: an object, an id, or ``{"name": …, "params": {…}}``."""


def needs_catalogue(asked: Sequence[Asked]) -> bool:
    return any(not isinstance(each, str | KnownIndicator) for each in asked)


def ids_of(asked: Sequence[Asked], catalogue: Catalogue) -> list[str]:
    """The ids, in order; ValueError when something is no indicator."""
    return [_id(each, catalogue) for each in asked]


def _id(asked: Asked, catalogue: Catalogue) -> str:
    if isinstance(asked, str):
        return asked
    if isinstance(asked, Mapping):
        asked = Indicator(str(asked.get("name")), **dict(asked.get("params") or {}))
    return asked.id(catalogue)
