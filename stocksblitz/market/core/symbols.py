"""What a symbol looks like."""

import re

SYMBOL_PATTERN = r"[A-Z0-9][A-Z0-9&._-]{0,31}"
RESERVED_SYMBOLS = frozenset(
    {"data", "subscriptions", "catalogue", "metrics", "subscribe", "unsubscribe", "heartbeat"}
)
"""Words that are routes beside ``/indicators/{symbol}``."""
_symbol = re.compile(SYMBOL_PATTERN, re.ASCII)


def is_symbol(text: str) -> bool:
    """Return whether the text could be a symbol: it has no colon or line break that would change a key."""
    return _symbol.fullmatch(text) is not None
