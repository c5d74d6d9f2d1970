"""Indicator ids and their parameters: ``RSI_14_100`` <-> name and params."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NoReturn

from indicators.engine.catalogue import CATALOGUE, KEPT_BARS, Entry, Param, Params, ParamValue, catalogue
from stocksblitz.api.errors import StocksBlitzError

__all__ = ["CATALOGUE", "Entry", "Spec", "catalogue", "parse", "parse_request"]

MAX_ID = 100
"""Characters; the longest id of the catalogue with every parameter written is shorter."""
DECIMALS = 8
"""Digits behind the point that a parameter keeps, so that equal parameters give equal ids."""

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spec:
    """One indicator with all its parameters. Two specs are equal when they mean the same."""

    id: str
    name: str = field(compare=False)
    params: Params = field(compare=False, hash=False)
    warmup: int = field(compare=False)

    @property
    def entry(self) -> Entry:
        return CATALOGUE[self.name]

    @property
    def history(self) -> int:
        """Return how many closed bars to load: more than the warm-up where the data decide or where everything counts."""
        return KEPT_BARS if self.entry.settles or self.entry.endless else self.warmup

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return parse, (self.id,)


def parse(text: object) -> Spec:
    """Return the spec that an id means; left-out trailing parameters take their defaults.

    Raises `StocksBlitzError`: ``unknown_indicator``, ``invalid_parameter``, and ``invalid_message`` for what is no text.
    """
    if not isinstance(text, str):
        _misshapen("an indicator id is text such as RSI_14", text)
    if len(text) > MAX_ID:
        _refuse(f"an indicator id has at most {MAX_ID} characters", text)
    return _parse(text)


def build(name: object, params: object = None) -> Spec:
    """Return the spec of a name and an object of parameters; left-out ones take defaults. Raises as `parse`."""
    if not isinstance(name, str):
        _misshapen("the name of an indicator is text", name)
    if (entry := CATALOGUE.get(name[:MAX_ID].upper())) is None:
        _unknown(name)
    if not isinstance(params, Mapping | None):
        _misshapen(f"params of {entry.name} must be an object of name: value", params)
    given: dict[str, ParamValue] = {}
    for key, value in (params or {}).items():
        param = entry.by_name.get(key)
        if param is None:
            known = ", ".join(p.name for p in entry.params) or "none"
            _refuse(f"{entry.name} has no parameter of this name (it has: {known})", key)
        if param.name in given:
            _refuse(f"{entry.name} got its parameter {param.name} twice", key)
        given[param.name] = _value(entry, param, value)
    return _spec(entry, given)


def parse_request(indicators: object) -> dict[str, Spec]:
    """Return the spec of each asked id, from ``{id: {"name", "params"}}``, ``[id]`` or ``[{"name", "params"}]``.

    A list of objects is answered under canonical ids. Raises as `parse`; one wrong indicator refuses all.
    """
    if indicators is None:
        return {}
    if isinstance(indicators, Mapping):
        return {key: _keyed(key, value) for key, value in indicators.items()}
    if isinstance(indicators, Iterable) and not isinstance(indicators, str | bytes):
        return dict(_listed(item) for item in indicators)
    _misshapen(
        'indicators must be [id, …], [{"name", "params"}, …] or {id: {"name", "params"}, …}',
        indicators,
    )


def _keyed(key: object, value: object) -> Spec:
    spec, meant = parse(key), _from_object(value)
    if spec != meant:
        _refuse(f"the id contradicts its params: these are {meant.id}", key)
    return spec


def _listed(item: object) -> tuple[str, Spec]:
    if isinstance(item, str):
        return item, parse(item)
    spec = _from_object(item)
    return spec.id, spec


def _from_object(value: object) -> Spec:
    if not isinstance(value, Mapping) or "name" not in value or value.keys() - {"name", "params"}:
        _misshapen('an indicator is an object with "name" and "params" alone', value)
    return build(value["name"], value.get("params"))


@lru_cache(maxsize=8192)
def _parse(text: str) -> Spec:
    entry, words = _split(text)
    if len(words) > len(entry.params):
        _refuse(f"{entry.name} takes at most {len(entry.params)} parameters", text)
    pairs = zip(entry.params, words, strict=False)
    return _spec(
        entry, {param.name: _value(entry, param, _word(entry, param, word)) for param, word in pairs}
    )


def _split(text: str) -> tuple[Entry, list[str]]:
    """Return the entry with the longest name that the id begins with, and the words behind it."""
    words = text.split("_")
    for end in range(min(len(words), 3), 0, -1):
        if entry := CATALOGUE.get("_".join(words[:end]).upper()):
            return entry, words[end:]
    _unknown(text)


def _word(entry: Entry, param: Param, word: str) -> ParamValue:
    if param.kind == "choice":
        return word
    if not _NUMBER.fullmatch(word):
        _refuse(f"{entry.name}: {param.name} must be a number", word)
    return float(word) if "." in word else int(word)


def _value(entry: Entry, param: Param, value: object) -> ParamValue:
    """Return the value as the parameter keeps it: int, or float rounded to `DECIMALS`."""
    if param.kind == "choice":
        if isinstance(value, str) and value.lower() in param.choices:
            return value.lower()
        _refuse(f"{entry.name}: {param.name} must be one of {', '.join(param.choices)}", value)
    bounds = f"{entry.name}: {param.name} must be a {'whole ' if param.kind == 'int' else ''}number"
    bounds += f" from {_text(param.low)} to {_text(param.high)}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not param.low <= value <= param.high:
        _refuse(bounds, value)
    if param.kind == "int":
        return int(value) if value == int(value) else _refuse(bounds, value)
    kept = round(float(value), DECIMALS) + 0.0  # -0 is 0
    return kept if kept >= param.low else _refuse(bounds, value)


def _spec(entry: Entry, given: Mapping[str, ParamValue]) -> Spec:
    params = {param.name: given.get(param.name, param.default) for param in entry.params}
    for low, high in zip(entry.ascending, entry.ascending[1:], strict=False):
        if not params[low] < params[high]:  # type: ignore[operator]  # what ascends is a number
            _refuse(f"{entry.name}: {low} must be less than {high}", f"{params[low]} and {params[high]}")
    name, warmup = _canonical(entry, params), entry.bars(params)
    if warmup > KEPT_BARS:
        _refuse(f"it would need {warmup} bars to settle and {KEPT_BARS} are kept; use a shorter length", name)
    return Spec(name, entry.name, MappingProxyType(params), warmup)


def _canonical(entry: Entry, params: Params) -> str:
    """Return the shortest faithful id: the primary parameters, and others up to the last that is not its default."""
    shown = max(
        (i for i, p in enumerate(entry.params, 1) if p.primary or params[p.name] != p.default), default=0
    )
    return "_".join([entry.name, *(_text(params[p.name]) for p in entry.params[:shown])])


def _text(value: ParamValue) -> str:
    """Return a parameter as ids write it: ``2.0`` is ``2``, never with an exponent."""
    if isinstance(value, float):
        return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return str(value)


def _unknown(name: object) -> NoReturn:
    raise StocksBlitzError(
        "unknown_indicator",
        f"{_shown(name)} is no indicator of the catalogue; GET /indicators/catalogue lists all names",
    )


def _refuse(expected: str, got: object) -> NoReturn:
    raise StocksBlitzError("invalid_parameter", f"{expected}; got {_shown(got)}")


def _misshapen(expected: str, got: object) -> NoReturn:
    raise StocksBlitzError("invalid_message", f"{expected}; got {_shown(got)}")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
