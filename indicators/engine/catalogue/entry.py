"""Entries of the catalogue: an indicator's typed parameters, its parts, and how many bars it needs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Literal

KEPT_BARS = 3000
"""Bars that an indicator can count on at most; one that needs more is refused, as it would never be ready."""

type ParamValue = int | float | str
type Params = Mapping[str, ParamValue]
type Kind = Literal["int", "float", "choice"]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. A primary one is always written in the canonical id, others only where they differ from
    their default (and then all before them, too). Bounds are inclusive."""

    name: str
    default: ParamValue
    kind: Kind
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    primary: bool = True
    aliases: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {"name": self.name, "type": self.kind, "default": self.default}
        if self.kind == "choice":
            shown["choices"] = list(self.choices)
        else:
            shown |= {"min": self.low, "max": self.high}
        return shown | {"primary": self.primary}


def length(default: int, name: str = "length", low: int = 1, high: int = 2500, primary: bool = True) -> Param:
    """Return a parameter that is a number of bars."""
    return Param(name, default, "int", low, high, primary=primary)


def number(name: str, default: float, low: float, high: float, primary: bool = True) -> Param:
    return Param(name, float(default), "float", low, high, primary=primary)


def whole(name: str, default: int, low: int, high: int) -> Param:
    """Return a parameter that is a whole number and seldom set."""
    return Param(name, default, "int", low, high, primary=False)


def scalar(default: float = 100) -> Param:
    """Return the parameter that pandas-ta calls scalar: a factor."""
    return Param("scalar", float(default), "float", -1e6, 1e6, primary=False)


def choice(name: str, *choices: str) -> Param:
    """Return a parameter that is one of some words; the first is the default."""
    return Param(name, choices[0], "choice", choices=choices, primary=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One indicator as the catalogue shows it.

    ``parts``: names of the parts of a value that is an object; empty for a plain number.
    ``warmup``: bars until the value agrees with any longer history, as an expression over the parameters and
    the functions of this module; it is what the documents show, too.
    ``ascending``: parameters that must grow in this order.
    ``endless``: a sum over everything seen, so it counts from the first bar of the kept history.
    ``settles``: the rule asks the data, too: readiness may come later than ``warmup``.
    """

    name: str
    title: str
    params: tuple[Param, ...] = ()
    parts: tuple[str, ...] = ()
    warmup: str = "1"
    kernel: str = "own"
    convention: str = ""
    pane: Literal["overlay", "pane"] = "pane"
    category: str = ""
    ascending: tuple[str, ...] = ()
    endless: bool = False
    settles: bool = False
    by_name: dict[str, Param] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named = {alias: p for p in self.params for alias in (p.name, *p.aliases)}
        object.__setattr__(self, "by_name", named)

    def bars(self, params: Params) -> int:
        """Return the warm-up for these parameters."""
        return int(eval(_code(self.warmup), {"__builtins__": {}}, {**RULES, **params}))

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "title": self.title,
            "category": self.category,
            "pane": self.pane,
            "params": [param.as_json() for param in self.params],
            "parts": list(self.parts),
            "warmup": self.bars({p.name: p.default for p in self.params}),
            "warmup_rule": self.warmup,
            "settles": self.settles,
            "endless": self.endless,
            "kernel": self.kernel,
            "convention": self.convention,
        }


@cache
def _code(rule: str) -> CodeType:
    return compile(rule, "<warm-up>", "eval")


# --- Warm-up ------------------------------------------------------------------------------------------------
# A recursive average forgets its start by a factor per bar. Two histories may disagree about the start by the
# value's own size (a price average) or by a multiple of it (a range after a crash), hence two remainders.

PRICE_REMAINDER = 1e-7
REMAINDER = 1e-9


@cache
def time_constants(stages: int, remainder: float) -> float:
    """Return after how many time constants a chain of equal smoothings has ``remainder`` of its start left."""
    low, high = 0.0, 200.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        left = math.exp(-middle) * sum(middle**j / math.factorial(j) for j in range(stages))
        low, high = (middle, high) if left > remainder else (low, middle)
    return high


def decay(alpha: float, stages: int = 1, remainder: float = REMAINDER) -> int:
    """Return after how many bars an exponential average with this weight of the newest value forgets its start."""
    if alpha >= 1:
        return 0
    return math.ceil(time_constants(stages, remainder) / -math.log1p(-alpha))


@cache
def holt(na: float, nb: float, nc: float) -> int:
    """Return how many bars Holt's and Winters' smoothing takes to forget its start, by following a unit start."""
    states = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    for bars in range(1, KEPT_BARS + 2):
        for i, (level, speed, bend) in enumerate(states):
            new_level = (1 - na) * (level + speed + bend / 2)
            new_speed = (1 - nb) * (speed + bend) + nb * (new_level - level)
            states[i] = (new_level, new_speed, (1 - nc) * bend + nc * (new_speed - speed))
        if max(abs(value) for state in states for value in state) < PRICE_REMAINDER:
            return bars
    return KEPT_BARS + 1


def poles(period: float) -> int:
    """Return how many bars Ehlers' smoothing filter of this period takes to forget its start."""
    return math.ceil(-math.log(REMAINDER) * period / (math.pi * math.sqrt(2)))


def ema(period: int, stages: int = 1) -> int:
    """Return the seed and memory of EMA(period), taken ``stages`` times one after another."""
    return (period - 1) * stages + decay(2 / (period + 1), stages) + 1


def price(period: int, stages: int = 1) -> int:
    """Return the same where the result is a price, so that less precision in units of the price is enough."""
    return (period - 1) * stages + decay(2 / (period + 1), stages, PRICE_REMAINDER) + 1


def rma(period: int, stages: int = 1) -> int:
    """Return the seed and memory of Wilder's average."""
    return period * stages + decay(1 / period, stages) + 1


RULES: dict[str, Callable[..., float]] = {
    "ema": ema,
    "price": price,
    "rma": rma,
    "decay": decay,
    "holt": holt,
    "poles": poles,
    "max": max,
    "min": min,
    "ceil": math.ceil,
}
