"""Deletes simulated and replayed market data from Redis; sessions and subscriptions of the realm stay."""

from typing import Any

from stocksblitz.redis.keys import Keys

_SCAN = 500


def patterns(keys: Keys) -> list[str]:
    """Return the key patterns of market data: quotes, bars, frames, indicator values, positions of feed and readers."""
    names = [
        "market:*",
        "indicator:*:latest",
        "sb:bars:*",
        "sb:replay:*",
        "sb:feed:*",
        "sb:positions",
        "sb:slow:*",
    ]
    return [f"{_literal(keys.prefix)}{name}" for name in [*names, "sb:{*}:log", "sb:{*}:frame"]]


async def purge(redis: Any, keys: Keys) -> int:
    """Delete the realm's market data; return how many keys there were. ValueError for the real realm."""
    if not keys.prefix.endswith("mock:"):
        raise ValueError("only the mock realm is purged")
    count = 0
    for pattern in patterns(keys):
        found = [name async for name in redis.scan_iter(match=pattern, count=_SCAN)]
        for start in range(0, len(found), _SCAN):
            pipe = redis.pipeline(transaction=False)
            for name in found[start : start + _SCAN]:
                pipe.unlink(name)
            await pipe.execute()
        count += len(found)
    return count


def _literal(prefix: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in prefix)
