"""What the portfolio processes tell of themselves, left in Redis every second so that any web process can
show it.
"""

from typing import Any

import orjson

from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.workers.leases import ALIVE_MS
from stocksblitz.workers.runtime import now_ms

STATISTICS, DIRTY = "statistics", "dirty"
MOST_NAMES = 10_000
"""Dirty accounts that one worker names; beyond it only their number is told."""

COUNTED = (
    "symbols_processed",
    "symbols_looked_up",
    "users_affected_total",
    "lookups",
    "errors",
    "overflows",
    "reconnects",
    "accounts_revalued",
    "snapshots_written",
    "snapshots_refused",
    "announced",
    "decisions",
    "drift_checks",
    "drift_alarms",
)
"""What only grows while a process lives."""
_SUMMED = (*COUNTED, "accounts", "positions", "shards")


def name(part: str) -> str:
    """Hash of one part: worker id to JSON with the time (ms) of the report."""
    return current_keys().name("portfolio", part)


def _reports(part: str) -> list[dict[str, Any]]:
    """What workers that live have said."""
    since = now_ms() - ALIVE_MS
    rows = [orjson.loads(raw) for raw in sync_client().hvals(name(part))]
    return [row for row in rows if row["ts"] >= since]


def status(user_types: list[str]) -> dict[str, Any]:
    """All processes together. Numbers are sums, ``uptime_seconds`` is the longest."""
    reports = _reports(STATISTICS)
    numbers = {key: sum(each.get(key, 0) for each in reports) for key in _SUMMED}
    dirty = {
        f"dirty_users_{kind}": sum(r.get(f"dirty_users_{kind}", 0) for r in reports) for kind in user_types
    }
    return {
        "is_running": any(each.get("is_running") for each in reports),
        "workers": len(reports),
        "uptime_seconds": max((each.get("uptime_seconds", 0) for each in reports), default=0),
        **numbers,
        **dirty,
        "processes": sorted(reports, key=lambda each: str(each.get("worker"))),
    }


def dirty_users(user_type: str) -> tuple[int, list[str]]:
    """How many accounts of a type are dirty, and their keys."""
    reports = [each.get(user_type) or {"count": 0, "users": []} for each in _reports(DIRTY)]
    return sum(r["count"] for r in reports), sorted({user for r in reports for user in r["users"]})
