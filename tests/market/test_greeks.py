"""Greeks against published values."""

import csv
import math
from datetime import UTC, datetime
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksblitz.market.core.greeks import (
    Parity,
    at_volatility,
    greeks,
    price,
    synthetic_forward,
    volatility,
    years_to,
)
from stocksblitz.market.core.options import Chain, Contract, Interest


def published(data):
    with (data / "options" / "reference_values.csv").open() as file:
        return list(csv.DictReader(file))


def spot_value(row, right, spot, strike, t, r, q, sigma):
    """A spot option's quantity, by the chain rule from Black-76 on the forward S·e^((r-q)t)."""
    growth = math.exp((r - q) * t)
    forward = spot * growth
    found = at_volatility(right, sigma, forward, strike, t, r)
    value = price(right, forward, strike, t, r, sigma)
    per_year = 365 * found.theta - found.delta * forward * (r - q)
    quantities = {
        "price": value,
        "delta": found.delta * growth,
        "elasticity": found.delta * growth * spot / value,
        "gamma": found.gamma * growth * growth,
        "vega": found.vega * 100,
        "theta": per_year / 365 if "day" in row["unit"] else per_year,
        "rho": found.rho * 100 + found.delta * forward * t,
        "dividendRho": -found.delta * forward * t,
    }
    return quantities[row["quantity"]]


def black_value(row, right, forward, strike, t, r, sigma):
    found = at_volatility(right, sigma, forward, strike, t, r)
    if row["quantity"] == "price":
        value = price(right, forward, strike, t, r, sigma)
        return value * math.exp(r * t) if row["unit"] == "undiscounted" else value
    return getattr(found, row["quantity"])


def test_published_prices_and_greeks_come_out(data):
    rows = published(data)
    assert len(rows) == 70
    for row in rows:
        right = {"c": "call", "p": "put"}[row["flag"]]
        s, k, r, t, sigma = (float(row[name]) for name in ("S_or_F", "K", "r", "t", "sigma"))
        if row["model"] == "Black-76":
            found = black_value(row, right, s, k, t, r, sigma)
        else:
            found = spot_value(row, right, s, k, t, r, float(row["q"] or 0), sigma)
        assert found == pytest.approx(float(row["expected"]), abs=float(row["tolerance"])), row


def test_a_real_chain_has_the_greeks_that_were_published_with_it(data):
    """Options on SPX far out of the money; their source smooths its volatilities over strikes, hence the tolerance."""
    with (data / "options" / "spx_options_20141215.csv").open() as file:
        rows = list(csv.DictReader(file))
    vegas, volatilities = [], []
    for row in rows:
        day, expiry = (
            datetime.fromisoformat(row[name]).replace(tzinfo=UTC) for name in ("quotedate", "expiration")
        )
        years = years_to(*(round(each.timestamp() * 1000) for each in (expiry, day)))
        terms, published = (
            (float(row["underlying_last"]), float(row["strike"]), years, 0.002),
            float(row["impliedvol"]),
        )
        found = at_volatility(row["type"], published, *terms)
        assert found.delta == pytest.approx(float(row["delta"]), abs=0.02), row
        if float(row["vega"]) > 0:
            vegas.append(found.vega * 100 / float(row["vega"]))
        if float(row["bid"]) > 0:
            premium = (float(row["bid"]) + float(row["ask"])) / 2
            volatilities.append(volatility(row["type"], premium, *terms) / published)
    assert len(vegas) > 140
    assert median(vegas) == pytest.approx(1.0, abs=0.05)
    assert len(volatilities) > 100
    assert median(volatilities) == pytest.approx(1.0, abs=0.15)


@settings(deadline=None)
@given(
    st.sampled_from(["call", "put"]),
    st.floats(0.7, 1.4),
    st.floats(0.005, 2.0),
    st.floats(0.08, 1.2),
    st.floats(0.0, 0.12),
)
def test_a_premium_gives_back_the_volatility_it_was_made_with(right, moneyness, years, sigma, rate):
    forward, strike = 24_500.0, 24_500.0 * moneyness
    premium = price(right, forward, strike, years, rate, sigma)
    intrinsic = max(0.0, forward - strike if right == "call" else strike - forward) * math.exp(-rate * years)
    if premium - intrinsic > 0.01:
        assert volatility(right, premium, forward, strike, years, rate) == pytest.approx(sigma, rel=1e-3)


@settings(deadline=None)
@given(st.floats(0.005, 2.0), st.floats(0.0, 0.12), st.floats(0.1, 0.8))
def test_put_and_call_agree_on_the_forward(years, rate, sigma):
    strikes = [24_000.0, 24_250.0, 24_500.0, 24_750.0, 25_000.0]
    parities = [
        Parity(k, *(price(right, 24_411.0, k, years, rate, sigma) for right in ("call", "put")))
        for k in strikes
    ]
    assert synthetic_forward(parities, years, rate) == pytest.approx(24_411.0, rel=1e-9)


@pytest.mark.parametrize("premium", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_a_price_that_says_nothing_gives_none(premium):
    assert greeks("call", premium, 100.0, 100.0, 0.5, 0.02) is None


def test_after_expiry_there_are_none():
    assert greeks("call", 5.0, 100.0, 100.0, 0.0, 0.02) is None
    assert synthetic_forward([Parity(100.0, 5.0, 5.0)], -0.1, 0.02) is None
    assert synthetic_forward([], 0.1, 0.02) is None


NOW = 1_795_000_000_000
SOON, LATER = NOW + 5 * 86_400_000, NOW + 12 * 86_400_000


def chain():
    contracts = [
        Contract(f"{expiry}-{strike:.0f}-{right}", expiry, strike, right)
        for expiry in (SOON, LATER)
        for strike in (90.0, 100.0, 110.0)
        for right in ("call", "put")
    ]
    premiums = {
        c.symbol: price(c.right, 101.0, c.strike, years_to(c.expiry, NOW), 0.05, 0.3) for c in contracts
    }
    return Chain(contracts, 0.05), premiums


def test_an_underlying_shows_its_nearest_expiry_at_the_money():
    options, premiums = chain()
    forwards = options.forwards(premiums, NOW)
    assert forwards == {SOON: pytest.approx(101.0), LATER: pytest.approx(101.0)}
    shown = options.at_the_money(premiums, forwards, NOW)
    assert (shown["strike"], shown["expiry"]) == (100.0, "2026-11-23T11:06:40Z")
    assert set(shown) == {"expiry", "strike", "forward", "call", "put"}
    for side, sign in (("call", 1), ("put", -1)):
        assert shown[side]["iv"] == pytest.approx(0.3, rel=1e-4)
        assert shown[side]["delta"] * sign > 0
        assert set(shown[side]) == {"iv", "delta", "gamma", "theta", "vega", "rho"}


def test_expired_contracts_are_out():
    options, premiums = chain()
    assert set(options.forwards(premiums, SOON)) == {LATER}
    assert options.at_the_money({}, {}, NOW) is None


def test_open_interest_of_an_underlying_is_that_of_its_contracts():
    options, _ = chain()
    interests = {c.symbol: Interest(200.0 if c.right == "call" else 300.0, 10.0) for c in options.contracts}
    assert options.interest(interests, NOW) == {"call": 1200.0, "put": 1800.0, "pcr": 1.5, "change": 120.0}
    assert options.interest({}, NOW) is None
