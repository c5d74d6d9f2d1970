"""Every Redis name, built here and nowhere else.

``prefix`` is the realm's: empty for real data, ``mock:`` for simulated and replayed data (tests put a namespace of
their own in front). Names that clients may rely on are plain and stand first. The others begin with ``sb:``.
"""

from dataclasses import dataclass

MOCK_TTL_S = 300
"""How long mock data live after they were last written: not much longer than their feed runs."""
BARS_ONLY = "-"
"""Stands where an indicator id would, for a subscription to a stream without indicators."""


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str = ""

    # Public: documented in docs/protocol.md.

    def market(self, symbol: str) -> str:
        return f"{self.prefix}market:{symbol}"

    @property
    def price_updates(self) -> str:
        return f"{self.prefix}market_price_updates"

    def holders(self, symbol: str, user_type: str) -> str:
        return f"{self.prefix}symbol_holders:{symbol}:{user_type}"

    def latest(self, symbol: str, timeframe: str, indicator: str) -> str:
        return f"{self.prefix}indicator:{symbol}:{timeframe}:{indicator}:latest"

    def lock(self, symbol: str, timeframe: str, indicator: str) -> str:
        return f"{self.prefix}lock:indicator:{symbol}:{timeframe}:{indicator}"

    def subscribers(self, symbol: str, timeframe: str, indicator: str) -> str:
        return f"{self.prefix}indicator_sub:{symbol}:{timeframe}:{indicator}"

    def updates(self, symbol: str, timeframe: str) -> str:
        return f"{self.prefix}indicator_updates:{symbol}:{timeframe}"

    def snapshot(self, account: str) -> str:
        """``account`` is ``live:12345`` or ``demo:12345``."""
        return f"{self.prefix}portfolio:{account}"

    # Internal: bars and frames.

    @property
    def bar_updates(self) -> str:
        return f"{self.prefix}bar_updates"

    def bars(self, symbol: str, timeframe: str) -> str:
        return f"{self.prefix}sb:bars:{symbol}:{timeframe}"

    def stream(self, symbol: str, timeframe: str, part: str) -> str:
        """``part``: ``log`` (closed frames), ``frame`` (the newest), ``pos`` (number) or ``fence`` (who may write)."""
        return f"{self.prefix}sb:{{{symbol}:{timeframe}}}:{part}"

    @property
    def positions(self) -> str:
        """Hash: ``SYMBOL|TF`` to the opening time of the last closed bar that compute has published."""
        return f"{self.prefix}sb:positions"

    @property
    def feed_marker(self) -> str:
        """Exists while the hot store has everything that the feed publishes, its past included."""
        return f"{self.prefix}sb:feed:marker"

    def readers(self, symbol: str) -> str:
        """Hash of the web processes that have the symbol: ``TF|process`` to ``ts|wall ms``.

        ``ts`` is the opening time of the last closed bar that all sessions of the process were written, ``wall ms`` when
        the process wrote this. A replay at full speed waits for it.
        """
        return f"{self.prefix}sb:readers:{symbol}"

    # Internal: subscriptions.

    @property
    def wanted(self) -> str:
        """Set of ``SYMBOL|TF|ID`` that have at least one subscriber."""
        return f"{self.prefix}sb:wanted"

    @property
    def demand(self) -> str:
        """Channel: JSON ``{"add": [...], "drop": [...]}`` of members of `wanted`."""
        return f"{self.prefix}sb:demand"

    def session(self, session_key: str) -> str:
        return f"{self.prefix}sb:session:{session_key}"

    # Internal: jobs and workers.

    def jobs(self, part: str) -> str:
        """The job queue; ``part``: ``queue``, ``turns``, ``data``, ``taken``, ``tries`` or ``bell``."""
        return f"{self.prefix}sb:jobs:{part}"

    @property
    def results(self) -> str:
        """Channel: the outcome of each one-shot computation."""
        return f"{self.prefix}sb:results"

    def workers(self, kind: str) -> str:
        """Sorted set: worker id to the time (ms) of its last heartbeat."""
        return f"{self.prefix}sb:workers:{kind}"

    def lease(self, kind: str, shard: int) -> str:
        return f"{self.prefix}sb:lease:{kind}:{shard}"

    def name(self, *parts: str) -> str:
        """Return an internal name; the first part tells whose it is."""
        return f"{self.prefix}sb:{':'.join(parts)}"


def session_key(user_id: int | str, session_id: str) -> str:
    """Return the name of a session in every set of subscribers."""
    return f"{user_id}:{session_id}"


def computation(symbol: str, timeframe: str, indicator: str) -> str:
    """Return the name of one computation in `Keys.wanted`."""
    return f"{symbol}|{timeframe}|{indicator}"
