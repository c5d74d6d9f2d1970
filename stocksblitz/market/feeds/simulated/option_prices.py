"""Option chains of the simulated market: premiums and open interest as pure functions of the underlying and the time.

A premium is Black-76 with a volatility smile that is fixed for each session, so it rises and falls with the underlying
alone within a minute, and the high and low of an option's minute are those of the underlying, priced.
"""

import zlib
from datetime import UTC, date, datetime, time, timedelta
from math import erf, log, pi, sin
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from stocksblitz.market.core.bars import DAY_MS, MINUTE_MS, Bar
from stocksblitz.market.core.greeks import YEAR_MS
from stocksblitz.market.core.options import Contract, Interest
from stocksblitz.market.feeds.simulated.price_path import Minutes
from stocksblitz.market.feeds.simulated.profiles import Profile

RATE = 0.065
"""Interest and carry of the simulated market, a fraction per year."""
STRIKES = 15
"""On each side of the money."""
TICKS_PER_UNIT = 20
EXPIRIES = 2
_INDIA = ZoneInfo("Asia/Kolkata")
_CLOSE = time(15, 30)
_TUESDAY = 1
_LOT_INTEREST = 60_000
_erf = np.frompyfunc(erf, 1, 1)


def expiries(profile: Profile, now: int) -> list[int]:
    """The next moments of expiry: Tuesdays at the close, for BANKNIFTY the last ones of a month."""
    today = datetime.fromtimestamp(now / 1000, UTC).astimezone(_INDIA).date()
    days = (today + timedelta(days=n) for n in range(100))
    tuesdays = [
        day for day in days if day.weekday() == _TUESDAY and (_weekly(profile) or _last_of_month(day))
    ]
    moments = [round(datetime.combine(day, _CLOSE, _INDIA).timestamp() * 1000) for day in tuesdays]
    return [moment for moment in moments if moment > now][:EXPIRIES]


def contracts(profile: Profile, spot: float, now: int) -> list[Contract]:
    """The chain around a price."""
    middle = round(spot / profile.strike_step)
    strikes = [float(n * profile.strike_step) for n in range(middle - STRIKES, middle + STRIKES + 1)]
    return [
        Contract(name(profile.symbol, expiry, strike, right), expiry, strike, right)
        for expiry in expiries(profile, now)
        for strike in strikes
        for right in ("call", "put")
    ]


def name(underlying: str, expiry: int, strike: float, right: str) -> str:
    """The symbol of an option, as NIFTY50-20261124-24500-CE."""
    day = datetime.fromtimestamp(expiry / 1000, UTC).astimezone(_INDIA)
    return f"{underlying}-{day:%Y%m%d}-{strike:.0f}-{right[0].upper()}E"


def premium(contract: Contract, profile: Profile, spot: Any, minute: Any, anchor: Any) -> Any:
    """Premiums in ticks: ``spot`` in the minute that opens at ``minute``, ``anchor`` at the session's open."""
    years = np.maximum(contract.expiry - minute, MINUTE_MS) / YEAR_MS
    forward = spot * np.exp(RATE * years)
    deviation = _volatility(contract.strike, profile, anchor) * np.sqrt(years)
    d1 = np.log(forward / contract.strike) / deviation + deviation / 2
    call = np.exp(-RATE * years) * (forward * _normal(d1) - contract.strike * _normal(d1 - deviation))
    value = call if contract.right == "call" else call - np.exp(-RATE * years) * (forward - contract.strike)
    return np.maximum(np.rint(value * TICKS_PER_UNIT), 1).astype(np.int64)


def share(contract: Contract, profile: Profile, anchor: float) -> float:
    """How much is traded in the contract for each unit of its underlying: most at the money."""
    distance = log(contract.strike / anchor) / (4 * profile.daily_move)
    return float(0.8 * np.exp(-distance * distance) + 0.002)


def interest(contract: Contract, profile: Profile, now: int) -> Interest:
    """Open interest: a hump over the strikes, swelling and shrinking over the days, in whole lots of 25."""
    distance = log(contract.strike / profile.price) / (8 * profile.daily_move)
    code = zlib.crc32(contract.symbol.encode())
    hump = _LOT_INTEREST * float(np.exp(-distance * distance)) * (0.6 + (code % 997) / 1_200)
    day, gone = divmod(now, DAY_MS)
    before, after = (
        hump * (1 + 0.2 * sin(2 * pi * ((code % 89) / 89 + each / 9))) for each in (day, day + 1)
    )
    start = round(before) * 25
    oi = round(before + (after - before) * gone / DAY_MS) * 25
    return Interest(oi, oi - start)


def minute_bars(contract: Contract, profile: Profile, minutes: Minutes) -> list[Bar]:
    """The contract's minutes in whole sessions of the underlying."""
    units, length = profile.ticks_per_unit, minutes.open.shape[1]
    ts = minutes.opens[:, None] + np.arange(length) * MINUTE_MS
    anchor = minutes.open[:, :1] / units
    at = [premium(contract, profile, each / units, ts, anchor) for each in minutes[1:5]]
    low, high = np.minimum(at[1], at[2]), np.maximum(at[1], at[2])
    shares = np.array([[share(contract, profile, float(each))] for each in anchor[:, 0]])
    traded = np.floor(np.cumsum(minutes.volume, axis=1) * shares)
    volume = np.diff(traded, axis=1, prepend=0)
    prices = [each / TICKS_PER_UNIT for each in (at[0], high, low, at[3])]
    return list(map(Bar, *(column.ravel().tolist() for column in (ts, *prices, volume))))


def _volatility(strike: float, profile: Profile, anchor: Any) -> Any:
    """The smile: fixed by where the session opened, steeper for low strikes."""
    base = profile.daily_move * 365**0.5
    distance = np.log(strike / anchor) / (profile.daily_move * 7)
    return base * (1.05 + 0.06 * distance * distance - 0.05 * distance).clip(0.6, 2.5)


def _normal(x: Any) -> Any:
    return 0.5 * (1 + np.asarray(_erf(x / 2**0.5), dtype=float))


def _weekly(profile: Profile) -> bool:
    return profile.symbol == "NIFTY50"


def _last_of_month(day: date) -> bool:
    return (day + timedelta(days=7)).month != day.month
