"""A session's own data at this moment, for readers without a socket; and figures of all sessions."""

from collections import Counter
from typing import Any

from indicators.engine.formats import decode_frame
from indicators.engine.spec import Spec, parse
from indicators.models import Subscription
from indicators.reads import cache
from indicators.reads.blank_frame import add_reads, blank_frame
from indicators.subscriptions.queries import shared_counts
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.observability import aggregation
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client


def subscribed(user_id: int, session_id: str, symbol: str, timeframe: str) -> dict[str, Spec]:
    """Return the ids that a session uses on a stream; StocksBlitzError ``not_subscribed`` where it has not even bars."""
    rows = Subscription.objects.filter(
        session__user_id=user_id,
        session__session_id=session_id,
        session__ended_at=None,
        symbol=symbol,
        timeframe=timeframe,
    ).order_by("pk")
    asked = list(rows.values_list("indicator", "canonical"))
    if not asked:
        raise StocksBlitzError(
            "not_subscribed", f"this session has no subscription to {symbol} {timeframe}: subscribe first"
        )
    return {indicator: parse(canonical) for indicator, canonical in asked if indicator}


SHOWN = ("timestamp", "ohlcv", "greeks", "oi", "source", "stale")


def data(symbol: str, timeframe: str, specs: dict[str, Spec], *, user_id: int) -> dict[str, Any]:
    """Return bar, Greeks, open interest, and exactly these indicators under the ids they were asked by."""
    frame = _newest_frame(symbol, timeframe)
    values = dict(frame["indicators"])
    missing = {spec.id: spec for spec in specs.values() if spec.id not in values}
    if missing:
        values |= _computed(symbol, timeframe, missing, user_id)
    own = {asked: values[spec.id] for asked, spec in specs.items()}
    shown = {name: frame.get(name) for name in SHOWN}
    return {"symbol": symbol, "timeframe": timeframe, **shown, "indicators": own}


def _newest_frame(symbol: str, timeframe: str) -> dict[str, Any]:
    """Return the frame that compute published last, or a blank one while there is none."""
    keys, pipe = current_keys(), sync_client().pipeline(transaction=False)
    pipe.get(keys.stream(symbol, timeframe, "frame"))
    add_reads(pipe, keys, symbol, timeframe)
    raw, market, members = each_answer_sync(pipe)
    with cache.bad_frames.skip(f"{symbol} {timeframe}"):
        if good(raw):
            return decode_frame(raw, timeframe)
    return blank_frame(symbol, timeframe, market, members)


def _computed(symbol: str, timeframe: str, specs: dict[str, Spec], user_id: int) -> dict[str, Any]:
    """Return stored or computed values; null, and not ready, for those that cannot be had now."""
    try:
        return cache.current_sync(symbol, timeframe, specs, user_id=user_id).values
    except StocksBlitzError:
        nothing = {"ts": None, "value": None, "timeframe": timeframe, "ready": False}
        return dict.fromkeys(specs, nothing)


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def figures() -> dict[str, Any]:
    """Return what is shared, and how well; over all processes."""
    aggregation.push()
    shared, sums = shared_counts(), aggregation.totals()
    subscribers = sum(count for _, count in shared)
    hits, misses = (sums.get(f"indicator_cache_{name}_total", 0.0) for name in ("hits", "misses"))
    computed = sums.get("indicator_computations_total", 0.0)
    served = hits + misses + aggregation.counter("stocksblitz_values_delivered_total")
    return {
        "total_subscriptions": len(shared),
        "by_symbol": dict(Counter(symbol for (symbol, _, _), _ in shared)),
        "by_timeframe": dict(Counter(timeframe for (_, timeframe, _), _ in shared)),
        "total_subscribers": subscribers,
        "cache": {"hits": int(hits), "misses": int(misses), "hit_rate": _ratio(hits, hits + misses)},
        "computations": int(computed),
        "users_per_computation": _ratio(subscribers, len(shared)),
        "reuse_ratio": _ratio(served, computed),
    }


def _series(name: str, **labels: str) -> aggregation.Series:
    return aggregation.Series(name, tuple(sorted(labels.items())))


def gauges() -> list[tuple[aggregation.Series, float]]:
    """Return gauges that Redis knows: how many share each computation, and how many computations each stream has."""
    shared = shared_counts()
    streams = Counter((symbol, timeframe) for (symbol, timeframe, _), _ in shared)
    sharing = [
        (
            _series("indicator_shared_users", symbol=symbol, timeframe=timeframe, indicator=indicator),
            float(count),
        )
        for (symbol, timeframe, indicator), count in shared
    ]
    active = [
        (_series("indicator_active_subscriptions", symbol=symbol, timeframe=timeframe), float(count))
        for (symbol, timeframe), count in streams.items()
    ]
    return sharing + active
