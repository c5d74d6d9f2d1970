"""Indicators and their ids: the id of ``RSI(14)`` is ``RSI_14``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Catalogue = Mapping[str, Sequence[Mapping[str, Any]]]
"""Parameters of each indicator by its name, in the order of its id, each with ``name`` and ``default``."""


def _as_text(value: object) -> str:
    """Return a parameter as it is written in an id: 2.0 becomes 2."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Indicator:
    """An indicator of the catalogue, with parameters by name: ``Indicator("CCI", length=20)``."""

    def __init__(self, name: str, **params: float | str) -> None:
        self.name = name
        self.params = params

    def __repr__(self) -> str:
        return f"Indicator({self.name!r}, {', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def id(self, catalogue: Catalogue) -> str:
        """Return the id; parameters that are left out before a given one take their defaults.

        Raises ValueError when the indicator or a parameter is not known.
        """
        order = catalogue.get(self.name)
        if order is None:
            raise ValueError(f"there is no indicator {self.name!r}; Client.catalogue() lists them")
        names = [str(parameter["name"]) for parameter in order]
        if unknown := [name for name in self.params if name not in names]:
            raise ValueError(
                f"{self.name} has no parameter {unknown[0]!r}; there are {', '.join(names) or 'none'}"
            )
        last = max((names.index(name) for name in self.params), default=-1)
        values = [
            self.params.get(str(parameter["name"]), parameter["default"]) for parameter in order[: last + 1]
        ]
        return "_".join([self.name, *(_as_text(value) for value in values)])


class KnownIndicator(Indicator):
    """An indicator whose parameters have an order known to the client, so that its id needs no catalogue."""

    def id(self, catalogue: Catalogue | None = None) -> str:
        return "_".join([self.name, *(_as_text(value) for value in self.params.values())])

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


IndicatorSpec = Indicator | str | Mapping[str, Any]
"""What callers may pass for an indicator: an object, an id, or ``{"name": …, "params": {…}}``."""


def needs_catalogue(specs: Sequence[IndicatorSpec]) -> bool:
    """Return whether the id of one of these can only be built with the catalogue."""
    return any(not isinstance(spec, str | KnownIndicator) for spec in specs)


def ids_of(specs: Sequence[IndicatorSpec], catalogue: Catalogue) -> list[str]:
    """Return the ids in the order given; raise ValueError when one of them is not an indicator."""
    return [_id(spec, catalogue) for spec in specs]


def _id(spec: IndicatorSpec, catalogue: Catalogue) -> str:
    if isinstance(spec, str):
        return spec
    if isinstance(spec, Mapping):
        spec = Indicator(str(spec.get("name")), **dict(spec.get("params") or {}))
    return spec.id(catalogue)
