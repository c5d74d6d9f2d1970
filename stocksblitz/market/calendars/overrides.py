"""Our own corrections of the calendar library, and the exchanges that it knows.

NSE and BSE announce by circular what no library follows: the hour of Muhurat trading on Diwali, sessions on the day of a
budget that falls on a weekend, rehearsals of the disaster recovery site, holidays for elections.
"""

from datetime import date, time
from typing import NamedTuple

from stocksblitz.api.errors import StocksBlitzError

_LISTED = """
XAMS XASE XASX XBDA XBEL XBKK XBOG XBOM XBRA XBRU XBSE XBUD XBUE XCBF XCSE XCYS XDUB XDUS XEEE XETR XEUR XFRA XHAM XHEL
XHKG XICE XIDX XIST XJSE XKAR XKLS XKRX XLIM XLIS XLIT XLJU XLON XLUX XMAD XMEX XMIL XMOS XNAS XNYS XNZE XOSL XPAR XPHS
XPRA XRIS XSAU XSES XSGO XSHG XSTO XSTU XSWX XTAE XTAI XTAL XTKS XTSE XTSX XWAR XWBO XZAG
"""
EXCHANGES = frozenset({"24x7", "24x5", "XNSE", "XCME", "XCBT", "XNYM", "XCEC", *_LISTED.split()})
"""Every exchange an instrument may name."""


def check_exchange(exchange: str) -> None:
    """Raise `StocksBlitzError` for an exchange that has no calendar."""
    if exchange not in EXCHANGES:
        raise StocksBlitzError(
            "invalid_parameter",
            f"exchange is 24x7, 24x5 or a market identifier code such as XNSE or XNYS, not {exchange!r}",
        )


class Overrides(NamedTuple):
    """Local hours by trading day; None: closed."""

    zone: str
    days: dict[date, tuple[time, time] | None]


_FULL = (time(9, 15), time(15, 30))
_NSE_DAYS: dict[date, tuple[time, time] | None] = {
    # Muhurat trading
    date(2020, 11, 14): (time(18, 15), time(19, 15)),
    date(2021, 11, 4): (time(18, 15), time(19, 15)),
    date(2022, 10, 24): (time(18, 15), time(19, 15)),
    date(2023, 11, 12): (time(18, 15), time(19, 15)),
    date(2024, 11, 1): (time(18, 0), time(19, 0)),
    date(2025, 10, 21): (time(13, 45), time(14, 45)),
    date(2026, 11, 8): (time(18, 0), time(19, 0)),
    # budgets on a weekend
    date(2020, 2, 1): _FULL,
    date(2025, 2, 1): _FULL,
    date(2026, 2, 1): _FULL,
    # special Saturdays of 2024; the two rehearsals had a break, which bars here do not follow
    date(2024, 1, 20): _FULL,
    date(2024, 3, 2): (time(9, 15), time(12, 30)),
    date(2024, 5, 18): (time(9, 15), time(12, 40)),
}
_INDIA = Overrides("Asia/Kolkata", _NSE_DAYS)
OVERRIDES = {"XNSE": _INDIA, "XBOM": _INDIA}
