"""Snapshots of accounts as the engine left them in Redis."""

from portfolio.margin.snapshot_decoder import NO_STAMP, Stamp, decode_stamp
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.workers.runtime import now_ms

_bad_snapshots = BadDataLog("account_snapshot")


def checked_stamp(raw: bytes | None, account: str) -> Stamp:
    """Return the stamp of a snapshot that may be shown; `NO_STAMP` where there is none, or what is there is junk."""
    stamp = NO_STAMP
    if raw is not None:
        with _bad_snapshots.skip(account):
            stamp = decode_stamp(raw, account, now_ms())
    return stamp
