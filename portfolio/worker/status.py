"""Status reports of the portfolio processes, left in Redis every second so that any web process can show them."""

from typing import Any

from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, sync_client
from stocksblitz.redis.decoding import BadData, decode_json
from stocksblitz.workers.leases import ALIVE_MS
from stocksblitz.workers.runtime import now_ms

STATISTICS, DIRTY = "statistics", "dirty"
MAX_NAMES = 10_000
"""Dirty accounts that one worker names; beyond it only their number is shown."""
MAX_REPORT_BYTES = 1024 * 1024

COUNTED = (
    "symbols_processed", "symbols_looked_up", "users_affected_total", "lookups", "errors", "overflows", "reconnects",
    "accounts_revalued", "snapshots_written", "snapshots_refused", "announced", "decisions", "drift_checks",
    "drift_alarms",
)  # fmt: skip
"""What only grows while a process lives."""
_SUMMED = (*COUNTED, "accounts", "positions", "shards")
_bad_reports = BadDataLog("portfolio_report")


def report_key(part: str) -> str:
    """Return the hash of one part: worker id to its report, JSON with the time (ms) in ``ts``."""
    return current_keys().name("portfolio", part)


def _reports(part: str) -> list[dict[str, Any]]:
    """Return the reports of the workers that are alive."""
    since, found = now_ms() - ALIVE_MS, []
    for worker, raw in sync_client().hgetall(report_key(part)).items():
        with _bad_reports.skip(worker.decode(errors="replace")):
            report = _decode_report(raw)
            if report["ts"] >= since:
                found.append(report)
    return found


def _decode_report(raw: bytes) -> dict[str, Any]:
    report = decode_json("report", raw, MAX_REPORT_BYTES)
    if not isinstance(report, dict) or type(report.get("ts")) is not int:
        raise BadData("report", raw, "an object with ts")
    return report


def status(user_types: list[str]) -> dict[str, Any]:
    """Return the status of all processes together. Numbers are sums, ``uptime_seconds`` is the longest."""
    reports = _reports(STATISTICS)
    summed = (*_SUMMED, *(f"dirty_users_{kind}" for kind in user_types))
    return {
        "is_running": any(report.get("is_running") for report in reports),
        "workers": len(reports),
        "uptime_seconds": max((report.get("uptime_seconds", 0) for report in reports), default=0),
        **{name: sum(report.get(name, 0) for report in reports) for name in summed},
        "processes": sorted(reports, key=lambda report: str(report.get("worker"))),
    }


def dirty_users(user_type: str) -> tuple[int, list[str]]:
    """Return how many accounts of a type are dirty, and their keys."""
    rows = [report.get(user_type) or {"count": 0, "users": []} for report in _reports(DIRTY)]
    return sum(row["count"] for row in rows), sorted({user for row in rows for user in row["users"]})
