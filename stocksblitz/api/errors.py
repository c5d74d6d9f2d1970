"""One base error: a stable code, whether trying again can help, and how it looks over HTTP."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Kind:
    status: int
    retryable: bool = False


KINDS: dict[str, _Kind] = {
    "invalid_json": _Kind(400),
    "invalid_message": _Kind(400),
    "unknown_type": _Kind(400),
    "unknown_symbol": _Kind(404),
    "unknown_timeframe": _Kind(400),
    "unknown_indicator": _Kind(400),
    "invalid_parameter": _Kind(400),
    "not_subscribed": _Kind(404),
    "not_found": _Kind(404),
    "conflict": _Kind(409),
    "forbidden": _Kind(403),
    "not_authenticated": _Kind(401),
    "session_ended": _Kind(409),
    "limit_exceeded": _Kind(400),
    "rate_limited": _Kind(429, retryable=True),
    "unavailable": _Kind(503, retryable=True),
}


class StocksBlitzError(Exception):
    """A failure a client is told of.

    ``code`` is stable and one of `KINDS`; ``message`` says what was expected, what came, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.kind = KINDS[code]
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that fits the code."""
        return self.kind.status

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind.retryable

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.code, self.message)
