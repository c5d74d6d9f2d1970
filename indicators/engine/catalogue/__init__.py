"""Every indicator as static data; importing it loads no numeric library."""

from collections.abc import Mapping
from types import MappingProxyType

from indicators.engine.catalogue import candles, momentum, overlap, statistics, trend, volatility, volume
from indicators.engine.catalogue.differences import DIFFERENCES
from indicators.engine.catalogue.entry import KEPT_BARS, Entry, Param, Params, ParamValue

__all__ = ["CATALOGUE", "KEPT_BARS", "Entry", "Param", "ParamValue", "Params", "catalogue"]

_FAMILIES = (overlap, momentum, trend, volatility, volume, statistics, candles)

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {entry.name: entry for family in _FAMILIES for entry in family.ENTRIES}
)


def catalogue() -> list[dict[str, object]]:
    """Return the whole catalogue as JSON."""
    return [entry.as_json() | {"differences": DIFFERENCES.get(name, {})} for name, entry in CATALOGUE.items()]
