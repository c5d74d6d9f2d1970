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

from stocksblitz.market.quotes.config import parse_accounts
from stocksblitz.market.quotes.fetcher import Config
from stocksblitz.market.quotes.service import QuoteService
from stocksblitz.market.quotes.types import Price
from stocksblitz.redis.client import current_keys

_service: QuoteService | None = None
_lock = threading.Lock()
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


async def get_instrument_current_price(account: str, symbol: str) -> Price:
    """Return the current price of a symbol by an account of QUOTE_ACCOUNTS, fetched at most PRICE_CACHE_TIME ago.

    StocksBlitzError: unavailable (retryable) when the provider fails or has no price, rate_limited
    (retryable) when its queue is too long, unknown_symbol, not_found for an account that does not exist.
    """
    return await quote_service().ask(account, symbol)


def get_instrument_current_price_sync(account: str, symbol: str) -> Price:
    """Do the same for a thread (views, commands); cache and fetches are shared with tasks."""
    return quote_service().ask_sync(account, symbol)


def configuration() -> Config:
    """Return what the settings say; ImproperlyConfigured when they are wrong."""
    return Config(
        accounts=parse_accounts(settings.QUOTE_ACCOUNTS),
        keys=current_keys(),
        ttl=settings.PRICE_CACHE_TIME,
        stretch=max(1, settings.PRICE_CACHE_STRETCH),
        timeout=settings.QUOTE_TIMEOUT,
    )


def quote_service() -> QuoteService:
    """Return the process's service; it is made when it is first needed."""
    return _service or _open()


def _open() -> QuoteService:
    global _service
    with _lock:
        if _service is None:
            _service = QuoteService(configuration())
        return _service


def reset() -> None:
    """Close the service; the next call makes a new one. For the end of a process and for changed settings."""
    global _service
    with _lock:
        service, _service = _service, None
    if service:
        service.close()


def _forget_parent() -> None:
    """Forget the service in a forked child: its thread and its connections are the parent's."""
    global _service, _lock
    _service, _lock = None, threading.Lock()


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting in _SETTINGS:
        reset()


setting_changed.connect(_on_setting_changed)
atexit.register(reset)
os.register_at_fork(after_in_child=_forget_parent)
