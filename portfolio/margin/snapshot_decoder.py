"""The decoder of account snapshots, the keys ``portfolio:{account}`` (pure): anybody may write there."""

import re
from types import NoneType
from typing import NamedTuple

from stocksblitz.redis.decoding import BadData, decode_json

MAX_BYTES = 16 * 1024 * 1024
"""Of one snapshot: a hundred thousand positions."""
MAX_AHEAD_MS = 86_400_000
"""Epoch and version grow with the clock: one that is a day ahead of it is no engine's."""
_HEAD = re.compile(rb'\{"epoch":(\d{1,16}),"version":(\d{1,16}),')
_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("epoch", "version", "ts"), (int,)),
    **dict.fromkeys(("account", "source", "currency", "balance", "state"), (str,)),
    **dict.fromkeys(("margin_call_level", "stop_out_level"), (str,)),
    **dict.fromkeys(
        ("equity", "unrealized_pnl", "used_margin", "free_margin", "margin_level"), (str, NoneType)
    ),
    **dict.fromkeys(("margin_call_distance", "margin_call_price"), (str, NoneType)),
    **dict.fromkeys(("stop_out_distance", "stop_out_price"), (str, NoneType)),
    "oldest_price_ts": (int, NoneType),
    "stale": (bool,),
    "missing": (list,),
    "positions": (list,),
}


class Stamp(NamedTuple):
    """Epoch and version of a snapshot: a larger one is newer."""

    epoch: int
    version: int


NO_STAMP = Stamp(0, 0)


def stamp_at_head(raw: bytes) -> Stamp:
    """Return the stamp that a snapshot begins with, unchecked; `NO_STAMP` where there is none."""
    found = _HEAD.match(raw)
    return Stamp(int(found[1]), int(found[2])) if found else NO_STAMP


def decode_stamp(raw: bytes, account: str, now: int) -> Stamp:
    """Return the stamp of a snapshot of the account that is whole; BadData for anything else. ``now`` is in ms UTC."""
    stamp = stamp_at_head(raw)
    if not 0 < max(stamp) <= now + MAX_AHEAD_MS:
        raise BadData("snapshot", raw, "epoch and version first, not ahead of the clock")
    data = decode_json("snapshot", raw, MAX_BYTES)
    if data.keys() != _FIELDS.keys() or not all(type(data[name]) in kinds for name, kinds in _FIELDS.items()):
        raise BadData("snapshot", raw, f"an object with {', '.join(_FIELDS)}")
    if data["account"] != account:
        raise BadData("snapshot: account", data["account"], account)
    return stamp
