"""Columns of numbers that grow together (pure)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Table:
    """Columns of one length that grow together."""

    def __init__(self, columns: Mapping[str, Any], size: int = 1024) -> None:
        self.size = size
        self._columns = {name: np.zeros(size, kind) for name, kind in columns.items()}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    def column(self, name: str) -> Any:
        return self._columns[name]

    def reserve(self, size: int) -> None:
        if size > self.size:
            size = max(size, 2 * self.size)
            for name, column in self._columns.items():
                wider = np.zeros(size, column.dtype)
                wider[: self.size] = column
                self._columns[name] = wider
            self.size = size

    def keep(self, rows: Ints) -> None:
        """Only these rows, in this order."""
        for name, column in self._columns.items():
            column[: len(rows)] = column[rows]
            self._columns[name] = column


def sums(owner: Ints, weights: Floats, size: int) -> Floats:
    """Sums by owner (numpy gives whole numbers when there is nothing to add)."""
    return np.bincount(owner, weights=weights, minlength=size).astype(np.float64, copy=False)
