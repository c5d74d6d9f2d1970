"""What the feed leaves in Redis, read back: bars, forming bars and what is said of a symbol beside them (pure)."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from indicators.engine.live_stream import StreamQuote
from stocksblitz.market.core.bars import Bar

log = logging.getLogger(__name__)

type Forming = tuple[Bar, int]
"""A forming bar, and the opening time of the one that closed before it (0: none)."""

FIELDS = ("gen", "source", "fresh_until", "greeks", "oi")
"""What `quote_of` reads of a symbol's hash, in this order."""


def bar_of_row(row: Sequence[Any]) -> Bar:
    """A bar as Redis keeps it: ``[ts, o, h, l, c, v, session, …]``."""
    ts, first, high, low, close, volume, session = row[:7]
    return Bar(int(ts), float(first), float(high), float(low), float(close), float(volume), int(session))


def bar_of(raw: bytes) -> Bar:
    return bar_of_row(orjson.loads(raw))


def forming_of(raw: bytes) -> Forming:
    row = orjson.loads(raw)
    return bar_of_row(row), int(row[7])


def quote_of(fields: Sequence[bytes | None]) -> StreamQuote:
    """What `_FIELDS` of the symbol say."""
    generation, source, fresh_until, greeks, oi = fields
    return StreamQuote(
        (generation or b"").decode(),
        source.decode() if source else None,
        float(fresh_until or 0),
        orjson.loads(greeks) if greeks else None,
        orjson.loads(oi) if oi else None,
    )


def reaches(bars: list[Bar], forming: Forming | None) -> bool:
    """Whether the closed bars reach up to the forming one: a hot store that was lost is written oldest first."""
    return forming is None or not forming[1] or (bool(bars) and bars[-1].ts >= forming[1])


class Readable:
    """What others wrote of one symbol and cannot be read costs only that symbol; it is said once."""

    def __init__(self) -> None:
        self._bad: set[str] = set()

    @contextlib.contextmanager
    def __call__(self, symbol: str, otherwise: Callable[[], None] | None = None) -> Iterator[None]:
        """Ends the block at what cannot be read, and calls ``otherwise``."""
        try:
            yield
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            if symbol not in self._bad:
                log.error(
                    "what Redis has of %s cannot be read: %s", symbol, error, extra={"action": "bad_data"}
                )
            self._bad.add(symbol)
            if otherwise is not None:
                otherwise()

    def forget(self, symbol: str) -> None:
        """Say it again when it comes again."""
        self._bad.discard(symbol)
