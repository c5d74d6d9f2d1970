"""Print the figures of a benchmark: one JSON line per figure on stdout, everything else on stderr."""

import json
import sys
import time
from dataclasses import dataclass, field

type Line = tuple[str, float, str, float | None, str | None]
"""Figure as one process hands it to another: name, value, unit, baseline, target."""


@dataclass
class Report:
    """Printer of figures, called once per figure: ``report("fanout: ours (vs nchan)", 1.7, "µs/update", baseline=1.5)``.

    ``ratio`` in the line is value / baseline: 0.02 of a cost means fifty times less, 500 of a throughput means five
    hundred times more. The name says which baseline is meant. ``target`` bounds the ratio (or the value, without a
    baseline) as a text such as ``"<= 0.025"``; stderr says whether the target is met.
    """

    lines: list[dict[str, object]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __call__(
        self, name: str, value: float, unit: str, baseline: float | None = None, target: str | None = None
    ) -> None:
        """Print one figure, and on stderr whether it meets its target."""
        ratio = value / baseline if baseline else None
        line: dict[str, object] = {
            "name": name,
            "value": rounded(value),
            "unit": unit,
            "baseline": rounded(baseline),
            "ratio": rounded(ratio),
        }
        self.lines.append(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)
        if target:
            self._judge(name, value if ratio is None else ratio, target)

    def _judge(self, name: str, measured: float, target: str) -> None:
        met = holds(measured, target)
        if not met:
            self.missed.append(name)
        self.say(f"  {'met   ' if met else 'MISSED'} {name}: {rounded(measured)} {target}")

    def say(self, text: str) -> None:
        """Print a line of progress on stderr, with the seconds since the start."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", file=sys.stderr, flush=True)


def holds(measured: float, target: str) -> bool:
    """Return whether the figure meets a target written as ``<= 0.5``, ``>= 400`` or ``< 1``."""
    sign, _, bound = target.partition(" ")
    limit = float(bound)
    bounds = {"<=": measured <= limit, ">=": measured >= limit, "<": measured < limit, ">": measured > limit}
    return bounds[sign]


def rounded(value: float | None) -> float | None:
    """Round to four significant digits; the measurements are not more exact."""
    return None if value is None else float(f"{value:.4g}")


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of all values lies; between two values, return the higher one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
