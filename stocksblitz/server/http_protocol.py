"""uvicorn's HTTP protocol with bounds: a request arrives whole, in time and not too large, or its connection is closed.

Run with ``--http stocksblitz.server.http_protocol:BoundedProtocol``. The bounds hold on every route, before a view, a
parser or a thread sees the request.
"""

import asyncio
import enum
from http import HTTPStatus

import orjson
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
"""Largest request line and headers together."""
CHUNK_OVERHEAD = 8
"""Times its own length that a body may take on the wire; one sent in chunks of one byte takes six."""
LINGER_S = 2.0
"""How long input is still taken and dropped after a refusal: a reset would take the answer away from its reader."""


class Phase(enum.Enum):
    """What of a request is awaited next."""

    START = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


def refusal(status: int, code: str, detail: str) -> bytes:
    """Return a whole response: a problem (RFC 9457) after which the connection ends."""
    phrase = HTTPStatus(status).phrase
    body = orjson.dumps(
        {
            "type": f"urn:stocksblitz:error:{code}",
            "title": phrase,
            "status": status,
            "detail": detail,
            "code": code,
        }
    )
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        "cache-control: private, no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP connection whose requests are bounded while they are read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._phase = Phase.START
        self._requests = 0
        self._wire_bytes = self._body_bytes = 0
        self._ended = False
        self._read_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadlines()
        super().connection_lost(exc)

    # --- reading

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        before = self._requests, self._phase
        super().data_received(data)
        if self._ended or self.transport.is_closing():
            return
        if before == (self._requests, self._phase) and self._phase is not Phase.START:
            self._count(len(data))
        elif self._idle() and self._read_deadline is None:
            self._start_deadline()  # blank lines between two requests have ended the keep-alive's own time-out

    def on_message_begin(self) -> None:
        if self._ended:
            return
        super().on_message_begin()
        self._phase = Phase.HEAD
        self._requests += 1
        self._wire_bytes = self._body_bytes = 0
        self._start_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is Phase.HEAD:  # trailers after a body are dropped: nothing here expects any
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        announced = next((value for name, value in self.headers if name == b"content-length"), b"0")
        if int(announced) > settings.REST_MAX_BODY:
            self._refuse_body()
            return
        super().on_headers_complete()
        self._phase = Phase.BODY

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._ended:
            return
        if self._body_bytes > settings.REST_MAX_BODY:
            self._refuse_body()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ended:
            return
        self._phase = Phase.START
        self._stop_read_deadline()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._ended = True  # the rest is read by the WebSocket's own protocol
        self._stop_deadlines()
        super().handle_websocket_upgrade()

    def _idle(self) -> bool:
        """Whether the next request is awaited and no response is due."""
        served = self.cycle is None or self.cycle.response_complete
        return self._phase is Phase.START and served and self.timeout_keep_alive_task is None

    def _count(self, length: int) -> None:
        """Count bytes of a request that is still unfinished; refuse it when it is too large on the wire."""
        self._wire_bytes += length
        if self._phase is Phase.HEAD and self._wire_bytes > HEAD_BYTES:
            detail = f"expected a request line and headers of at most {HEAD_BYTES} bytes: send fewer"
            self._refuse(431, "headers_too_large", detail)
        elif self._wire_bytes > HEAD_BYTES + CHUNK_OVERHEAD * settings.REST_MAX_BODY:
            self._refuse_body()

    # --- refusing

    def _refuse_body(self) -> None:
        limit = settings.REST_MAX_BODY
        self._refuse(
            413, "too_large", f"expected a body of at most {limit} bytes, got more: send less at once"
        )

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer, tell the application that the client has gone, and drop what still comes until the end."""
        if self._answerable():
            self.transport.write(refusal(status, code, detail))
        self._ended = True
        self._stop_read_deadline()
        self.pipeline.clear()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _answerable(self) -> bool:
        """Whether the next bytes written are the response to the request that is being read."""
        if self._phase is Phase.BODY:
            return not self.pipeline and not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete

    # --- deadlines

    def _start_deadline(self) -> None:
        self._stop_read_deadline()
        self._read_deadline = self.loop.call_later(settings.REQUEST_TIMEOUT, self._expire)

    def _stop_read_deadline(self) -> None:
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None

    def _expire(self) -> None:
        """End a request that has not arrived whole in its time."""
        if self.flow.read_paused:  # it is this process that does not take it
            self._start_deadline()
        elif self._phase is Phase.START:
            self.transport.close()
        else:
            detail = f"expected the whole request within {settings.REQUEST_TIMEOUT} s: send it faster"
            self._refuse(408, "timeout", detail)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(settings.REQUEST_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_deadline()

    def _stop_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _stop_deadlines(self) -> None:
        self._stop_read_deadline()
        self._stop_write_deadline()
