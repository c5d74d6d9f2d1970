"""What one socket of a session must be sent, and what it must not be: docs/protocol.md's promises as a model."""

from typing import Any

type Pair = tuple[str, str]
"""Symbol, timeframe."""
BARS = ""
"""Stands among the ids of a pair for its bars, where it was subscribed to without an indicator."""


class Expected:
    """Requests say what shall change, replies when it does; nothing is believed of a reply that no request asked for.

    ``rows`` is what the session has, by pair; it outlives the socket. ``flowing`` is what this socket is sent, ``at`` how
    far each stream is. ``sure``: a session that comes back must still have its rows; else they may be gone.
    """

    def __init__(self, session_id: str, rows: dict[Pair, set[str]], *, sure: bool = True) -> None:
        self.session_id, self.rows, self._sure = session_id, rows, sure
        self.asked: dict[int, dict[str, Any]] = {}
        self.flowing: dict[Pair, frozenset[str]] = {}
        self.at: dict[Pair, tuple[str, int]] = {}
        self._awaited: set[Pair] = set()
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
        """Take the next message of the socket; what is wrong with it, or None."""
        kind = message["type"]
        if kind == "market_update":
            return self._update(message)
        check = self._checks.get(kind)
        return check(message) if check else f"nobody asked for {kind}"

    # --- frames -------------------------------------------------------------------------------------------------------

    def _update(self, message: dict[str, Any]) -> str | None:
        pair = (message["symbol"], message["timeframe"])
        has, before = self.flowing.get(pair), self.at.get(pair)
        if has is None:
            return "of a stream that the session does not have"
        if message["indicators"].keys() != has:
            return f"the session has {sorted(has)} there"
        if before is None or pair in self._awaited:
            return "before the snapshot"
        epoch, seq = message["epoch"], message["seq"]
        self.at[pair] = (epoch, seq)
        if epoch != before[0] or seq != before[1] + 1:
            return f"the stream was at {before}"
        return None

    def _snapshot(self, message: dict[str, Any]) -> str | None:
        pair = (message["symbol"], message["timeframe"])
        has, before, now = self.flowing.get(pair), self.at.get(pair), (message["epoch"], message["seq"])
        asked, self._awaited = pair in self._awaited, self._awaited - {pair}
        self.at[pair] = now
        if has is None:
            return "of a stream that the session does not have"
        if message["indicators"].keys() != has or message["history"]["indicators"].keys() != has:
            return f"the session has {sorted(has)} there"
        if before is not None and before[0] == now[0] and (now[1] < before[1] or not asked):
            return f"the stream was at {before}"
        return None

    def _lagged(self, message: dict[str, Any]) -> str | None:
        pair = (message["symbol"], message["timeframe"])
        before = self.at.get(pair)
        if pair not in self.flowing or before is None:
            return "of a stream that the session does not have"
        self.at[pair] = (before[0], message["to_seq"])
        return None if message["from_seq"] == before[1] + 1 else f"the stream was at {before}"

    # --- replies ------------------------------------------------------------------------------------------------------

    def _connected(self, message: dict[str, Any]) -> str | None:
        self._ws_conn_id = message["ws_conn_id"]
        retained = self._listed(message["retained"])
        if not retained and not self._sure:
            self.rows.clear()
        if message["session_id"] != self.session_id:
            return f"the session is {self.session_id}"
        return None if retained == self._known() else f"the session has {self._known()}"

    def _subscribed(self, message: dict[str, Any]) -> str | None:
        request = self.asked.pop(message["id"], None)
        pair = (message["symbol"], message["timeframe"])
        if request is None or pair != (request["symbol"], request["timeframe"]):
            return "nobody asked for it"
        self.rows.setdefault(pair, set()).update(request["indicators"] or {BARS})
        self.flowing[pair] = frozenset(self.rows[pair] - {BARS})
        self._awaited.add(pair)
        if message["ws_conn_id"] != self._ws_conn_id:
            return f"the socket is {self._ws_conn_id}"
        return self._left(message, self.flowing[pair])

    def _unsubscribed(self, message: dict[str, Any]) -> str | None:
        request = self.asked.pop(message["id"], None)
        named = (message["symbol"], message["timeframe"])
        if request is None or named != (request.get("symbol"), request.get("timeframe")):
            return "nobody asked for it"
        for pair in [
            pair
            for pair in self.rows
            if all(name in (None, own) for name, own in zip(named, pair, strict=True))
        ]:
            self._drop(pair, request.get("indicators"))
        return self._left(message, self.rows.get(named, set()) - {BARS} if None not in named else set())

    def _drop(self, pair: Pair, ids: list[str] | None) -> None:
        left = self.rows[pair] - set(self.rows[pair] if ids is None else ids)
        if left:
            self.rows[pair] = left
            if pair in self.flowing:
                self.flowing[pair] = frozenset(left - {BARS})
            return
        del self.rows[pair]
        self.flowing.pop(pair, None)
        self.at.pop(pair, None)

    def _left(self, message: dict[str, Any], expected: frozenset[str] | set[str]) -> str | None:
        right = sorted(message["indicators"]) == sorted(expected)
        return None if right else f"the session has {sorted(expected)} there"

    def _subscriptions(self, message: dict[str, Any]) -> str | None:
        self.asked.pop(message["id"], None)
        listed = self._listed(message["subscriptions"])
        return None if listed == self._known() else f"the session has {self._known()}"

    def _listed(self, entries: list[dict[str, Any]]) -> dict[Pair, list[str]]:
        return {(each["symbol"], each["timeframe"]): sorted(each["indicators"]) for each in entries}

    def _known(self) -> dict[Pair, list[str]]:
        return {pair: sorted(ids - {BARS}) for pair, ids in self.rows.items()}
