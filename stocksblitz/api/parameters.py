"""Whole numbers in the query of a request."""

import re
from collections.abc import Mapping
from typing import Any

from stocksblitz.api.errors import StocksBlitzError

_WHOLE = re.compile(r"\d{1,16}", re.ASCII)
"""Sixteen digits stay below 2**63, the largest number that the databases hold."""


def whole_number(
    query: Mapping[str, Any], name: str, default: int | None, *, low: int, high: int
) -> int | None:
    """Return the number that the query has under ``name``, or the default where there is none.

    Raise StocksBlitzError ``invalid_parameter`` for anything but a whole number from ``low`` to ``high``.
    """
    value = query.get(name)
    if value in (None, ""):
        return default
    if not _WHOLE.fullmatch(str(value)) or not low <= int(value) <= high:
        raise StocksBlitzError(
            "invalid_parameter",
            f"{name}: expected a whole number from {low} to {high}, got {str(value)[:40]!r}",
        )
    return int(value)
