"""Current prices: the one way by which views, orders and pages ask for them.

A price is fetched once however many ask for it: a cache for PRICE_CACHE_TIME seconds, one fetch in flight for
each (account, symbol) in a process, and a lease in Redis over all processes. docs/quotes.md tells how.
"""

import atexit
import os
import threading
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from stocksblitz.market.quotes.config import FEED_ACCOUNT, parse_accounts
from stocksblitz.market.quotes.fetcher import Config
from stocksblitz.market.quotes.service import QuoteService
from stocksblitz.market.quotes.types import Outcome, Price
from stocksblitz.redis.client import current_keys

__all__ = [
    "FEED_ACCOUNT",
    "Outcome",
    "Price",
    "configuration",
    "get_instrument_current_price",
    "get_instrument_current_price_sync",
    "reset",
]

_desk: QuoteService | None = None
_making = threading.Lock()


async def get_instrument_current_price(account: str, symbol: str) -> Price:
    """The current price of a symbol by an account of QUOTE_ACCOUNTS, fetched at most PRICE_CACHE_TIME ago.

    StocksBlitzError: unavailable (retryable) when the provider fails or has no price, rate_limited
    (retryable) when its queue is too long, unknown_symbol, not_found for an account that there is not.
    """
    return await (_desk or _open()).ask(account, symbol)


def get_instrument_current_price_sync(account: str, symbol: str) -> Price:
    """The same for threads (views, commands); it shares everything with the other."""
    return (_desk or _open()).ask_sync(account, symbol)


def configuration() -> Config:
    """What the settings say. ImproperlyConfigured when they are wrong."""
    return Config(
        accounts=parse_accounts(settings.QUOTE_ACCOUNTS),
        keys=current_keys(),
        ttl=settings.PRICE_CACHE_TIME,
        stretch=max(1, settings.PRICE_CACHE_STRETCH),
        timeout=settings.QUOTE_TIMEOUT,
    )


def _open() -> QuoteService:
    global _desk
    with _making:
        if _desk is None:
            _desk = QuoteService(configuration())
        return _desk


def reset() -> None:
    """Close everything; the next call begins anew. At the end of a process, and when settings change under
    tests."""
    global _desk
    with _making:
        desk, _desk = _desk, None
    if desk:
        desk.close()


def _forget() -> None:
    """In a forked child: the thread and the connections are the parent's."""
    global _desk, _making
    _desk, _making = None, threading.Lock()


_SETTINGS = frozenset(
    {
        "QUOTE_ACCOUNTS",
        "QUOTE_TIMEOUT",
        "PRICE_CACHE_TIME",
        "PRICE_CACHE_STRETCH",
        "REDIS_URL",
        "REDIS_NAMESPACE",
        "FEED",
    }
)


def _on_setting(*, setting: str, **_: Any) -> None:
    if setting in _SETTINGS:
        reset()


setting_changed.connect(_on_setting)
atexit.register(reset)
os.register_at_fork(after_in_child=_forget)
