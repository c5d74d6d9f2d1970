"""The frame of a stream that no compute worker has published yet: its bar, Greeks and open interest, and no values."""

from typing import Any

from stocksblitz.delivery.messages import iso
from stocksblitz.market.core.bars import Bar
from stocksblitz.market.core.market_hash import STATE_FIELDS, FeedState, decode_feed_state
from stocksblitz.market.store.bar_codec import FormingBar, decode_bars, decode_forming
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import good
from stocksblitz.redis.keys import Keys
from stocksblitz.workers.runtime import now_ms

bad_markets = BadDataLog("market")
bad_bars = BadDataLog("bar")


def add_reads(pipe: Any, keys: Keys, symbol: str, timeframe: str) -> None:
    """Add the two commands to a pipeline, asyncio or not, whose answers `blank_frame` takes."""
    pipe.hmget(keys.market(symbol), *STATE_FIELDS, f"bar:{timeframe}")
    pipe.zrange(keys.bars(symbol, timeframe), -1, -1)


def blank_frame(symbol: str, timeframe: str, market: Any, members: Any) -> dict[str, Any]:
    """Return the frame; parts that cannot be read are null."""
    state = FeedState("", None, None, None, None)
    with bad_markets.skip(symbol):
        state = decode_feed_state(market if isinstance(market, Exception) else market[: len(STATE_FIELDS)])
    forming, now = _forming(symbol, timeframe, market), now_ms()
    return {
        "epoch": "",
        "seq": 0,
        "symbol": symbol,
        "timeframe": timeframe,
        "timestamp": iso(now),
        "ohlcv": _ohlcv(forming.bar, closed=False) if forming else _last_closed(symbol, timeframe, members),
        "greeks": state.greeks,
        "oi": state.oi,
        "indicators": {},
        "source": state.source,
        "stale": now > (state.fresh_until or 0),
        "prev": forming.prev_ts if forming else 0,
    }


def _forming(symbol: str, timeframe: str, market: Any) -> FormingBar | None:
    with bad_bars.skip(f"{symbol} {timeframe} forming"):
        return decode_forming(good(market)[-1])
    return None


def _last_closed(symbol: str, timeframe: str, members: Any) -> dict[str, Any] | None:
    bars, bad = decode_bars(members)
    bad_bars.record_all(f"{symbol} {timeframe}", bad)
    return _ohlcv(bars[-1], closed=True) if bars else None


def _ohlcv(bar: Bar, *, closed: bool) -> dict[str, Any]:
    parts = ("ts", "open", "high", "low", "close", "volume")
    return {**dict(zip(parts, bar, strict=False)), "closed": closed}
