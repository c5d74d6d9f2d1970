"""Which connection holds which session, and with which view it has which stream."""

import time
from collections.abc import Iterator

from stocksblitz.delivery.connection import Connection, WriteBatch
from stocksblitz.delivery.hub.stream import StreamState
from stocksblitz.delivery.messages import Close
from stocksblitz.delivery.send_queue import Stream
from stocksblitz.observability import metrics

IDLE_S = 1.0
"""How long a stream without connections keeps its Redis subscription, for tabs that reload."""


class Registry:
    """All connections and streams of one process."""

    def __init__(self, batch: WriteBatch) -> None:
        self.connections: dict[str, Connection] = {}
        self.stored: set[Connection] = set()
        """Connections whose sessions the database knows: their subscriptions can change behind their backs."""
        self.streams: dict[Stream, StreamState] = {}
        self._batch = batch

    def register(self, connection: Connection, *, stored: bool = False) -> None:
        """Make this connection its session's current one; close another one of the session in this process."""
        if stored:
            self.stored.add(connection)
        before = self.connections.get(connection.session_key)
        self.connections[connection.session_key] = connection
        connection.batch = self._batch
        metrics.sockets.set(len(self.connections))
        if before is not None and before is not connection:
            before.close(Close.REPLACED, "the session was opened elsewhere")

    def unregister(self, connection: Connection) -> None:
        for stream in list(connection.views):
            self.streams[stream].leave(connection)
        self.stored.discard(connection)
        if self.is_current(connection):
            del self.connections[connection.session_key]
            metrics.sockets.set(len(self.connections))

    def is_current(self, connection: Connection) -> bool:
        return self.connections.get(connection.session_key) is connection

    def open_connections(self) -> Iterator[Connection]:
        """Yield the connections that are not closing; they may be closed meanwhile."""
        return (connection for connection in list(self.connections.values()) if connection.closing is None)

    def stream(self, stream: Stream) -> StreamState:
        """Return what is known of the stream; it is made where nobody has had it."""
        state = self.streams.get(stream)
        if state is None:
            state = self.streams[stream] = StreamState(stream, self._batch)
        return state

    def enter(self, connection: Connection, stream: Stream, ids: dict[str, str]) -> None:
        """Send the connection these indicators of the stream from now on, unless it has left while it joined."""
        if self.is_current(connection):
            connection.supersede(stream)
            self.streams[stream].enter(connection, ids)

    def narrow(self, connection: Connection, stream: Stream, ids: dict[str, str]) -> None:
        """Send the connection fewer indicators from now on; the stream goes on without a snapshot."""
        self.streams[stream].enter(connection, ids)

    def leave(self, connection: Connection, stream: Stream) -> None:
        state = self.streams.get(stream)
        if state is not None:
            connection.forget(stream)
            state.leave(connection)

    def drop_if_idle(self, stream: Stream) -> bool:
        """Forget the stream if no connection has had it for `IDLE_S`; return whether it was forgotten."""
        state = self.streams.get(stream)
        if state is None or state.idle_for(time.monotonic()) <= IDLE_S:
            return False
        del self.streams[stream]
        return True
