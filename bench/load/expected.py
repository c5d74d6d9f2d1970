"""Model of the promises of docs/protocol.md: which messages one socket of a session may and must receive."""

from typing import Any

type StreamKey = tuple[str, str]
"""Symbol and timeframe of a stream."""
BARS = ""
"""Id that stands for the bars of a stream when the session subscribed to it without an indicator."""
NOT_SUBSCRIBED = "the session does not have this stream"
NOT_REQUESTED = "no request asked for this reply"


class Expected:
    """Checker of every message that one socket of a session receives.

    A request says what will change, and its reply says when it changes. A reply that no request asked for is an error.

    ``subscribed`` holds the ids that the session has subscribed to, by stream; it outlives the socket. ``flowing`` holds
    the indicators of each stream that this socket receives, and ``positions`` the (epoch, sequence number) of the newest
    message of each stream. With ``retained`` a session that reconnects must still have its subscriptions; without it they
    may have been removed.
    """

    def __init__(
        self, session_id: str, subscribed: dict[StreamKey, set[str]], *, retained: bool = True
    ) -> None:
        self.session_id, self.subscribed, self._retained = session_id, subscribed, retained
        self.requests: dict[int, dict[str, Any]] = {}
        self.flowing: dict[StreamKey, frozenset[str]] = {}
        self.positions: dict[StreamKey, tuple[str, int]] = {}
        self._awaiting_snapshot: set[StreamKey] = set()
        self._ws_conn_id = ""
        self._checks = {
            "snapshot": self._snapshot,
            "lagged": self._lagged,
            "connected": self._connected,
            "subscribed": self._subscribed,
            "unsubscribed": self._unsubscribed,
            "subscriptions": self._subscriptions,
        }

    def check(self, message: dict[str, Any]) -> str | None:
        """Check the next message of the socket; return what is wrong with it, or None."""
        kind = message["type"]
        if kind == "market_update":
            return self._update(message)
        check = self._checks.get(kind)
        return check(message) if check else f"unexpected message type {kind}"

    # --- frames -------------------------------------------------------------------------------------------------------

    def _update(self, message: dict[str, Any]) -> str | None:
        key = (message["symbol"], message["timeframe"])
        indicators, before = self.flowing.get(key), self.positions.get(key)
        if indicators is None:
            return NOT_SUBSCRIBED
        if message["indicators"].keys() != indicators:
            return other_indicators(indicators)
        if before is None or key in self._awaiting_snapshot:
            return "the update came before the snapshot"
        epoch, seq = message["epoch"], message["seq"]
        self.positions[key] = (epoch, seq)
        if epoch != before[0] or seq != before[1] + 1:
            return wrong_position(before)
        return None

    def _snapshot(self, message: dict[str, Any]) -> str | None:
        key = (message["symbol"], message["timeframe"])
        indicators, before = self.flowing.get(key), self.positions.get(key)
        now = (message["epoch"], message["seq"])
        awaited, self._awaiting_snapshot = key in self._awaiting_snapshot, self._awaiting_snapshot - {key}
        self.positions[key] = now
        if indicators is None:
            return NOT_SUBSCRIBED
        if any(part["indicators"].keys() != indicators for part in (message, message["history"])):
            return other_indicators(indicators)
        if before is not None and before[0] == now[0] and (now[1] < before[1] or not awaited):
            return wrong_position(before)
        return None

    def _lagged(self, message: dict[str, Any]) -> str | None:
        key = (message["symbol"], message["timeframe"])
        before = self.positions.get(key)
        if key not in self.flowing or before is None:
            return NOT_SUBSCRIBED
        self.positions[key] = (before[0], message["to_seq"])
        return None if message["from_seq"] == before[1] + 1 else wrong_position(before)

    # --- replies ------------------------------------------------------------------------------------------------------

    def _connected(self, message: dict[str, Any]) -> str | None:
        self._ws_conn_id = message["ws_conn_id"]
        retained = self._listed(message["retained"])
        if not retained and not self._retained:
            self.subscribed.clear()
        if message["session_id"] != self.session_id:
            return f"the session is {self.session_id}"
        return self._check_list(retained)

    def _subscribed(self, message: dict[str, Any]) -> str | None:
        request = self.requests.pop(message["id"], None)
        key = (message["symbol"], message["timeframe"])
        if request is None or key != (request["symbol"], request["timeframe"]):
            return NOT_REQUESTED
        self.subscribed.setdefault(key, set()).update(request["indicators"] or {BARS})
        self.flowing[key] = frozenset(self.subscribed[key] - {BARS})
        self._awaiting_snapshot.add(key)
        if message["ws_conn_id"] != self._ws_conn_id:
            return f"the socket is {self._ws_conn_id}"
        return self._check_indicators(message, self.flowing[key])

    def _unsubscribed(self, message: dict[str, Any]) -> str | None:
        request = self.requests.pop(message["id"], None)
        pattern = (message["symbol"], message["timeframe"])
        if request is None or pattern != (request.get("symbol"), request.get("timeframe")):
            return NOT_REQUESTED
        for key in [key for key in self.subscribed if matches(pattern, key)]:
            self._remove(key, request.get("indicators"))
        remaining = set() if None in pattern else self.subscribed.get(pattern, set()) - {BARS}
        return self._check_indicators(message, remaining)

    def _remove(self, key: StreamKey, ids: list[str] | None) -> None:
        remaining = self.subscribed[key] - set(self.subscribed[key] if ids is None else ids)
        if remaining:
            self.subscribed[key] = remaining
            if key in self.flowing:
                self.flowing[key] = frozenset(remaining - {BARS})
            return
        del self.subscribed[key]
        self.flowing.pop(key, None)
        self.positions.pop(key, None)

    def _check_indicators(self, message: dict[str, Any], expected: frozenset[str] | set[str]) -> str | None:
        right = sorted(message["indicators"]) == sorted(expected)
        return None if right else other_indicators(expected)

    def _subscriptions(self, message: dict[str, Any]) -> str | None:
        self.requests.pop(message["id"], None)
        return self._check_list(self._listed(message["subscriptions"]))

    def _check_list(self, listed: dict[StreamKey, list[str]]) -> str | None:
        expected = {key: sorted(ids - {BARS}) for key, ids in self.subscribed.items()}
        return None if listed == expected else f"the session has {expected}"

    def _listed(self, entries: list[dict[str, Any]]) -> dict[StreamKey, list[str]]:
        return {(entry["symbol"], entry["timeframe"]): sorted(entry["indicators"]) for entry in entries}


def other_indicators(expected: frozenset[str] | set[str]) -> str:
    """Return the error text of a message whose indicators are not the subscribed ones."""
    return f"the session has {sorted(expected)} on this stream"


def wrong_position(before: tuple[str, int]) -> str:
    """Return the error text of a message that does not follow the previous one."""
    return f"the previous message of the stream was at {before}"


def matches(pattern: tuple[str | None, str | None], key: StreamKey) -> bool:
    """Return whether a symbol and a timeframe, either of which may be None for "any", select the stream."""
    return all(name in (None, own) for name, own in zip(pattern, key, strict=True))
