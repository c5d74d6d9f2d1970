"""Frames of streams: decoded once per process, encoded once for each view."""

from collections.abc import Iterable
from typing import Any

import orjson

from stocksblitz.delivery.messages import encode, text_frame
from stocksblitz.redis.decoding import MAX_MS, BadData, decode_json

MAX_FRAME_LENGTH = 1_048_576
"""Bytes; a hundred indicators take about 15,000."""
MAX_NESTING = 200
"""Brackets up to which no value can be nested too deeply for the encoder, which takes 254 levels."""
MAX_SEQ = 2**53
_NUMBERS = (float, int)
_BAR_PARTS = ("open", "high", "low", "close", "volume")


def _decode(raw: bytes) -> dict[str, Any]:
    """Return the frame as compute published it; raise BadData for anything else."""
    data = decode_json("frame", raw, MAX_FRAME_LENGTH)
    if type(data) is not dict:
        raise BadData("frame", data, "an object")
    for name in ("epoch", "symbol", "timeframe", "timestamp"):
        if type(data.get(name)) is not str:
            raise BadData(name, data.get(name), "a string")
    _check_integer(data, "seq", MAX_SEQ)
    _check_integer(data, "prev", MAX_MS)
    _check_integer(data, "flushed", MAX_MS)
    _check_bar(data.get("ohlcv"))
    _check_values(data.get("indicators"))
    if raw.count(b"{") + raw.count(b"[") > MAX_NESTING:
        _check_nesting(data)
    return data


def _check_integer(data: dict[str, Any], name: str, most: int) -> None:
    value = data.get(name, 0)
    if type(value) is not int or not 0 <= value <= most:
        raise BadData(name, value, f"an integer from 0 to {most}")


def _check_bar(bar: Any) -> None:
    if bar is None:
        return
    if type(bar) is not dict or type(bar.get("closed")) is not bool:
        raise BadData("ohlcv", bar, "a bar")
    _check_integer(bar, "ts", MAX_MS)
    for part in _BAR_PARTS:
        if type(bar.get(part)) not in _NUMBERS:
            raise BadData(part, bar.get(part), "a number")


def _check_values(indicators: Any) -> None:
    if type(indicators) is not dict:
        raise BadData("indicators", indicators, "an object")
    for name, entry in indicators.items():
        if type(entry) is not dict or "value" not in entry or "ready" not in entry:
            raise BadData(name, entry, "a value with its state")


def _check_nesting(data: dict[str, Any]) -> None:
    try:
        orjson.dumps(data)
    except orjson.JSONEncodeError as error:
        raise BadData("frame", str(error), "less nesting") from None


class Frame:
    """One state of one stream, decoded once; each view's message is put together from parts encoded once."""

    __slots__ = (
        "_encoded", "_head", "_parts", "base", "closed", "data", "epoch", "flushed", "prev", "reset", "seq", "size", "ts"
    )  # fmt: skip

    def __init__(self, raw: bytes) -> None:
        """Decode a frame as compute published it; raise BadData for anything else."""
        data = _decode(raw)
        self.data = data
        self.epoch: str = data["epoch"]
        self.seq: int = data["seq"]
        bar = data["ohlcv"]
        self.ts: int = bar["ts"] if bar else 0
        # Between compute and hub only. A base frame opens an epoch with the state at the last bar published before it
        # (``reset``: the past was rewritten). ``prev`` is the bar that closed before this frame's, 0 if not known.
        # ``flushed`` is when the feed wrote the bar.
        self.base: bool = data.pop("base", False) is True
        self.reset: bool = data.pop("reset", False) is True
        self.prev: int = data.pop("prev", 0)
        self.flushed: int = data.pop("flushed", 0)
        self.closed: bool = bool(bar and bar["closed"]) and not self.base
        self.size = len(raw)
        self._parts: dict[str, bytes] = {}
        self._head: bytes = b""
        self._encoded: dict[Any, bytes] = {}

    @property
    def stream(self) -> tuple[str, str]:
        return self.data["symbol"], self.data["timeframe"]

    @property
    def upto(self) -> int:
        """Opening time of the last bar that had closed by this frame; 0 when it is not known."""
        return self.ts if self.closed or self.base else self.prev

    def part(self, canonical: str) -> bytes:
        """Return one indicator's value as JSON."""
        part = self._parts.get(canonical)
        if part is None:
            value = self.data["indicators"].get(canonical) or self.unknown()
            part = self._parts[canonical] = orjson.dumps(value)
        return part

    def unknown(self) -> dict[str, Any]:
        """Return what stands for an indicator that has no value yet."""
        return {"ts": self.ts or None, "value": None, "timeframe": self.data["timeframe"], "ready": False}

    def head(self) -> bytes:
        """Return everything but the indicators as JSON, without the closing bracket."""
        if not self._head:
            shared = {key: value for key, value in self.data.items() if key != "indicators"}
            self._head = orjson.dumps({"type": "market_update", **shared})[:-1]
        return self._head

    def message(self, view: "View") -> bytes:
        """Return the framed ``market_update`` of one view; it is encoded once for all of the view's connections."""
        framed = self._encoded.get(view)
        if framed is None:
            inside = b",".join([name + self.part(canonical) for name, canonical in view.names])
            framed = self._encoded[view] = text_frame(b'%b,"indicators":{%b}}' % (self.head(), inside))
        return framed

    def shed(self) -> None:
        """Forget what was encoded: a frame that is kept for later needs its data alone."""
        self._parts, self._head, self._encoded = {}, b"", {}


class View:
    """A distinct set of indicators, under the ids that sessions used; connections with the same set share it."""

    __slots__ = ("connections", "ids", "names")

    def __init__(self, ids: dict[str, str]) -> None:
        """``ids`` maps each id that a session used to the canonical id."""
        self.ids = ids
        self.names = [(orjson.dumps(asked) + b":", canonical) for asked, canonical in ids.items()]
        self.connections: dict[Any, None] = {}


def view_key(ids: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted(ids))


def snapshot(frame: Frame, ids: dict[str, str], history: dict[str, Any]) -> bytes:
    """Return the framed ``snapshot``: the frame's state for these ids, and the closed bars right before it."""
    known = frame.data["indicators"]
    values = {asked: known.get(canonical) or frame.unknown() for asked, canonical in ids.items()}
    return text_frame(encode({**frame.data, "type": "snapshot", "indicators": values, "history": history}))


def lagged(symbol: str, timeframe: str, from_seq: int, to_seq: int) -> bytes:
    """Return the framed ``lagged``: which frames of a stream the session will not get."""
    skipped = {"from_seq": from_seq, "to_seq": to_seq}
    return text_frame(encode({"type": "lagged", "symbol": symbol, "timeframe": timeframe, **skipped}))


def empty_history(ids: Iterable[str]) -> dict[str, Any]:
    return {"bars": [], "indicators": {asked: [] for asked in ids}, "complete": True}
