"""How far a replay may run ahead of its readers (pure)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FREE = 1_000_000_000
"""No reader holds the replay back."""


@dataclass(slots=True)
class Readers:
    """The wanted streams of one symbol, and how far each was read.

    A position counts only if it lies within what this round of the replay has closed: one from before a loop does not.
    A stream whose reader has not said where it is counts from where the replay was when it was first wanted.
    """

    limit: int
    """Bars that the replay may be ahead of the slowest stream."""
    _begun: dict[str, int] = field(default_factory=dict)

    def allowance(
        self, wanted: set[str], positions: Mapping[str, int], closed: Mapping[str, Sequence[int]]
    ) -> int:
        """Bars of any timeframe that may close now; never below 0.

        ``closed``: the opening times of the bars closed so far, by timeframe.
        """
        for timeframe in self._begun.keys() - wanted:
            del self._begun[timeframe]
        behind = [self._behind(tf, positions.get(tf), closed[tf]) for tf in wanted if tf in closed]
        return max(0, self.limit - max(behind)) if behind else FREE

    def caught_up(
        self, wanted: set[str], positions: Mapping[str, int], closed: Mapping[str, Sequence[int]]
    ) -> bool:
        """Whether every wanted stream was read to its end."""
        return all(not closed[tf] or positions.get(tf) == closed[tf][-1] for tf in wanted if tf in closed)

    def resume(self, positions: Mapping[str, int]) -> None:
        """Count the positions in full after a restart, also for bars that closed before it."""
        self._begun = dict.fromkeys(positions, 0)

    def _behind(self, timeframe: str, position: int | None, closed: Sequence[int]) -> int:
        begun = self._begun.setdefault(timeframe, len(closed))
        known = closed and position is not None and position <= closed[-1]
        seen = bisect_right(closed, position or 0) if known else 0
        return len(closed) - max(seen, begun)
