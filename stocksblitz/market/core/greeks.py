"""Option Greeks: Black-76 on the synthetic forward.

The forward comes from put-call parity at the strikes nearest to the money, so that dividends, carry and a spot that is
quoted elsewhere need not be known; time is counted in days of 365 to the moment of expiry. Price and Greeks are Black's
(The Pricing of Commodity Contracts, 1976); implied volatility is Jäckel's (Let's Be Rational, 2015), by `vollib`, whose
own Greeks load scipy's statistics for three lines of algebra.

Units: volatility as a fraction; delta per 1 of the forward, gamma per 1 point; theta per calendar day; vega and rho per 1
percentage point. Times are milliseconds UTC. None stands for what cannot be known from the price.
"""

from collections.abc import Sequence
from functools import cache
from math import erfc, exp, isfinite, log, pi, sqrt
from statistics import median
from typing import Any, NamedTuple

YEAR_MS = 365 * 86_400_000
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
    sign, d1, d2 = _terms(right, forward, strike, years, iv)
    return exp(-rate * years) * sign * (forward * _normal(sign * d1) - strike * _normal(sign * d2))


def volatility(
    right: str, premium: float, forward: float, strike: float, years: float, rate: float
) -> float | None:
    """The volatility at which the option would be worth the premium; None where none fits."""
    if years <= 0 or not (isfinite(premium) and premium > 0 and forward > 0 and strike > 0):
        return None
    try:
        iv = float(_solver()(premium, forward, strike, rate, years, right[0]))
    except Exception:  # vollib's own, for prices below intrinsic value or above the maximum
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
    """The Greeks at a known volatility: the derivatives of Black's formula, the forward held. None after expiry."""
    if years <= 0 or iv <= 0:
        return None
    sign, d1, _ = _terms(right, forward, strike, years, iv)
    discount, density = exp(-rate * years), exp(-d1 * d1 / 2) / sqrt(2 * pi)
    value = price(right, forward, strike, years, rate, iv)
    vega = discount * forward * density * sqrt(years)
    return Greeks(
        iv=iv,
        delta=discount * sign * _normal(sign * d1),
        gamma=discount * density / (forward * iv * sqrt(years)),
        theta=(rate * value - vega * iv / (2 * years)) / 365,
        vega=vega / 100,
        rho=-years * value / 100,
    )


def synthetic_forward(quotes: Sequence[Parity], years: float, rate: float) -> float | None:
    """The forward at which puts and calls agree: the median of K + e^(rT) (C - P) over the strikes nearest to the money.

    Nearest to the money is where call and put cost about the same. None without a strike that has both.
    """
    both = [quote for quote in quotes if quote.call > 0 and quote.put > 0]
    nearest = sorted(both, key=lambda quote: abs(quote.call - quote.put))[:NEAREST]
    if not nearest or years <= 0:
        return None
    return median(quote.strike + exp(rate * years) * (quote.call - quote.put) for quote in nearest)


def warm_up() -> None:
    """Load the solver: it takes most of a second, which a feed had better spend before it runs."""
    _solver()


@cache
def _solver() -> Any:
    from vollib.black.implied_volatility import implied_volatility

    return implied_volatility


def _terms(right: str, forward: float, strike: float, years: float, iv: float) -> tuple[int, float, float]:
    """1 for a call and -1 for a put, d1, d2."""
    deviation = iv * sqrt(years)
    d1 = log(forward / strike) / deviation + deviation / 2
    return (1 if right == "call" else -1), d1, d1 - deviation


def _normal(x: float) -> float:
    """The cumulative normal distribution."""
    return erfc(-x / sqrt(2)) / 2
