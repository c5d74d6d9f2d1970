"""Option Greeks: Black-76 on the synthetic forward.

The forward comes from put-call parity at the strikes nearest to the money, so that dividends, carry and a spot that is
quoted elsewhere need not be known; time is counted in days of 365 to the moment of expiry. The formulas are Black's
(The Pricing of Commodity Contracts, 1976), implied volatility is Jäckel's (Let's Be Rational, 2015), both by `vollib`.

Units: volatility as a fraction; delta per 1 of the forward, gamma per 1 point; theta per calendar day; vega and rho per 1
percentage point. Times are milliseconds UTC. None stands for what cannot be known from the price.
"""

from collections.abc import Sequence
from math import exp, isfinite
from statistics import median
from typing import Any, NamedTuple

from vollib.black import black, implied_volatility
from vollib.black.greeks import analytical

YEAR_MS = 365 * 86_400_000
_black: Any = black
_implied: Any = implied_volatility.implied_volatility
_analytical: Any = analytical
NEAREST = 5
"""Strikes around the money whose parity is believed; their median forgives one stale quote or two."""
_VOLATILITY = (0.001, 10.0)
"""What lies outside is a price that says nothing about volatility: intrinsic value alone, or nonsense."""


class Greeks(NamedTuple):
    """Of one option."""

    iv: float
    delta: float
    gamma: float
    theta: float
    vega: float
    rho: float


class Parity(NamedTuple):
    """A strike with the prices of both its options."""

    strike: float
    call: float
    put: float


def years_to(expiry: int, now: int) -> float:
    """Time to expiry in years of 365 days; 0 or less once it is over."""
    return (expiry - now) / YEAR_MS


def price(right: str, forward: float, strike: float, years: float, rate: float, iv: float) -> float:
    """The price of a ``call`` or ``put``, discounted."""
    return float(_black(right[0], forward, strike, years, rate, iv))


def volatility(
    right: str, premium: float, forward: float, strike: float, years: float, rate: float
) -> float | None:
    """The volatility at which the option would be worth the premium; None where none fits."""
    if years <= 0 or not (isfinite(premium) and premium > 0 and forward > 0 and strike > 0):
        return None
    try:
        iv = float(_implied(premium, forward, strike, rate, years, right[0]))
    except (
        Exception
    ):  # vollib has exceptions of its own for prices below intrinsic value or above the maximum
        return None
    return iv if _VOLATILITY[0] < iv < _VOLATILITY[1] else None


def greeks(
    right: str, premium: float, forward: float, strike: float, years: float, rate: float
) -> Greeks | None:
    """The Greeks that the premium implies; None after expiry, and where the premium implies no volatility."""
    iv = volatility(right, premium, forward, strike, years, rate)
    return None if iv is None else at_volatility(right, iv, forward, strike, years, rate)


def at_volatility(
    right: str, iv: float, forward: float, strike: float, years: float, rate: float
) -> Greeks | None:
    """The Greeks at a known volatility; None where they are no finite numbers."""
    terms = (right[0], forward, strike, years, rate, iv)
    found = Greeks(
        iv,
        float(_analytical.delta(*terms)),
        float(_analytical.gamma(*terms)),
        float(_analytical.theta(*terms)),
        float(_analytical.vega(*terms)),
        float(_analytical.rho(*terms)),
    )
    return found if all(map(isfinite, found)) else None


def synthetic_forward(quotes: Sequence[Parity], years: float, rate: float) -> float | None:
    """The forward at which puts and calls agree: the median of K + e^(rT) (C - P) over the strikes nearest to the money.

    Nearest to the money is where call and put cost about the same. None without a strike that has both.
    """
    both = [quote for quote in quotes if quote.call > 0 and quote.put > 0]
    nearest = sorted(both, key=lambda quote: abs(quote.call - quote.put))[:NEAREST]
    if not nearest or years <= 0:
        return None
    return median(quote.strike + exp(rate * years) * (quote.call - quote.put) for quote in nearest)
