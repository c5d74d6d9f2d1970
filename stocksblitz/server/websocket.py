"""uvicorn's WebSocket protocol with what the hub needs: writing a frame that was encoded once for many sockets.

Run with ``--ws stocksblitz.server.websocket:PreframedProtocol``. The application finds the protocol as
``scope["extensions"]["stocksblitz.raw"]``; under another server the extension is not there and the hub sends by ASGI.
"""

import logging
import random
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stocksblitz.observability import aggregation, metrics
from stocksblitz.observability.logs import RedactSecrets

EXTENSION = "stocksblitz.raw"
WRITE_BUFFER = 32_768
"""Bytes that may wait in a transport before its session counts as slow."""
KERNEL_BUFFER = 32_768
"""Bytes the kernel may keep for a peer that does not read: what lies there can no longer be conflated."""
TCP_RETRANSMITS, TCP_PROBES, TCP_LAST_ACK_RECV = 2, 3, 56
"""Offsets in Linux's struct tcp_info: unanswered retransmissions and window probes; ms since the last acknowledgement."""
UNANSWERED = 2
"""Retransmissions and probes without an answer that count as silence: one may still be on its way."""
BLOCKED_CLOSE_S = 30.0
"""How long a peer that does not read has for reading its close frame."""
CLOSE_OF_OURS_S = 2.0
"""The same when the server itself gives a connection up: the peer is gone, or the process is about to end."""
DRAIN_BATCH = 250
DRAIN_EVERY_S = 0.1
DRAIN_LONGEST_S = 5.0


class NotUtf8(logging.Filter):
    """Drops the trace of text that does not decode: its sender is told (1007), and the server has no fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError))


_log = logging.getLogger("stocksblitz.ws")
_log.addFilter(RedactSecrets())
_log.addFilter(NotUtf8())
_log.setLevel(logging.WARNING)


def ignore() -> None:
    """Do nothing: the hub has not set a callback yet."""


class PreframedProtocol(WebSocketsSansIOProtocol):
    """One socket, and the transport to it (`stocksblitz.delivery.transports`)."""

    pongs = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = _log
        self.blocked = False
        self.on_pause: Callable[[], None] = ignore
        self.on_resume: Callable[[], None] = ignore
        self.on_alive: Callable[[], None] = ignore
        self._patience_s = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    def pause_writing(self) -> None:
        super().pause_writing()
        self.blocked = True
        self.on_pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.blocked = False
        self.on_resume()

    def handle_ping(self) -> None:
        super().handle_ping()
        self.on_alive()

    def handle_pong(self, event: Any) -> None:
        super().handle_pong(event)
        self.on_alive()

    def keepalive_timeout(self) -> None:
        """Ask again while the peer's kernel acknowledges: a ping that nobody read tells nothing about the connection.

        Its bytes may lie unread in the kernels' buffers, which hold megabytes. See docs/decisions/0053-unread-pings.md.
        """
        if self._acknowledges():
            self.send_keepalive_ping()
            return
        self.stop_keepalive()
        self._give_up(1011, "no answer to a ping")

    def _acknowledges(self) -> bool:
        """Return False when the peer's kernel was asked several times since the ping and answered nothing."""
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.family == socket.AF_UNIX:
            return (
                connection is not None
            )  # the other end is a process of this machine: its end is seen at once
        try:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_LAST_ACK_RECV + 4)
            silent_ms: int = struct.unpack_from("I", info, TCP_LAST_ACK_RECV)[0]
            unanswered: int = info[TCP_RETRANSMITS] + info[TCP_PROBES]
        except (AttributeError, OSError, struct.error, IndexError):
            return False  # not a TCP socket of Linux: nothing is known, so nothing is assumed
        return unanswered < UNANSWERED or bool(silent_ms < 1000 * (self.ping_timeout or 0))

    def writer(self) -> Callable[[bytes], None]:
        return cast(Callable[[bytes], None], self.transport.write)

    def write_all(self, framed: list[bytes]) -> None:
        self.transport.write(b"".join(framed))

    def finish(self, code: int, reason: str = "") -> None:
        """Close without waiting for the peer; the application sees a disconnect at once."""
        self._finish(code, reason, BLOCKED_CLOSE_S if self.blocked else self.close_timeout)

    def _finish(self, code: int, reason: str, patience_s: float) -> None:
        """Write the close frame; a peer that has not read and answered it after ``patience_s`` is cut off."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent, self._patience_s = True, patience_s
        self.on_pause()  # nothing may follow
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(patience_s, self.transport.abort)

    def _give_up(self, code: int, reason: str) -> None:
        """Close for a reason of the server's own; the application counts only its own closes."""
        if not self.close_sent and not self.transport.is_closing():
            metrics.socket_closes.labels(code=str(code)).inc()
            aggregation.soon()  # the process may be about to end
        self._finish(code, reason, CLOSE_OF_OURS_S if self.blocked else self.close_timeout)

    @property
    def lost(self) -> bool:
        """Whether nothing that is written now can arrive."""
        return self.close_sent or self.disconnected

    @property
    def waiting(self) -> int:
        """Bytes that were written and that the socket has not taken yet."""
        return int(self.transport.get_write_buffer_size())

    async def run_asgi(self) -> None:
        await super().run_asgi()
        # The application is done: a peer that does not take what is left of it must not hold the socket for ever.
        if not self.disconnected:
            self.loop.call_later(self._patience_s or self.close_timeout, self.transport.abort)

    def shutdown(self) -> None:
        """Close the sockets in batches with 1012 and a hint when to come back, so that not all come back at once."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        place = len(self.connections)
        batch = random.randrange(max(1, place)) // DRAIN_BATCH
        delay = min(batch * DRAIN_EVERY_S, DRAIN_LONGEST_S)
        self.loop.call_later(delay, self._leave, min(10_000, 500 + 2 * place))

    def _leave(self, jitter_ms: int) -> None:
        self.stop_keepalive()
        self._give_up(1012, f"restart jitter_ms={jitter_ms}")
        if not self.transport.is_closing():
            self.transport.close()
