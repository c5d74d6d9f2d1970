"""Currency codes: those of ISO 4217 as babel has them, and the crypto assets that are known here (pure)."""

from functools import cache

from babel.numbers import get_currency_precision, list_currencies

_COIN_PLACES = 8
_STABLECOIN_PLACES = 2
_COINS = (
    "AAVE ADA ALGO APT ARB ATOM AVAX BCH BNB BTC CRO DOGE DOT EOS ETC ETH FIL HBAR ICP INJ LEO LINK LTC "
    "MATIC MKR NEAR OKB OP PEPE POL SHIB SOL SUI TON TRX UNI VET WBTC XBT XLM XMR XRP XTZ ZEC"
)
_STABLECOINS = "BUSD DAI EURC FDUSD PYUSD TUSD USDC USDP USDT"
CRYPTO = dict.fromkeys(_COINS.split(), _COIN_PLACES) | dict.fromkeys(_STABLECOINS.split(), _STABLECOIN_PLACES)
"""Known crypto assets and the digits after the point with which they are booked: exchanges book coins with eight,
and what stands for a dollar or a euro as money."""
_NO_MONEY = frozenset({"XTS", "XXX"})
"""Codes that ISO 4217 reserves for tests and for "no currency"."""


def is_currency(code: str) -> bool:
    """Return whether the code is one of ISO 4217 or of a known crypto asset."""
    return code in CRYPTO or (code in _iso_codes() and code not in _NO_MONEY)


@cache
def minor_unit_places(code: str) -> int:
    """Return the digits after the point of the currency's minor unit."""
    return CRYPTO[code] if code in CRYPTO else get_currency_precision(code)


@cache
def _iso_codes() -> frozenset[str]:
    return frozenset(list_currencies())
