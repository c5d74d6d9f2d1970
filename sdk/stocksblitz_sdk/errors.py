"""Errors of the client, with the codes that the server gives them."""

from __future__ import annotations

import httpx

REASONS = {
    4501: "not authenticated",
    4503: "forbidden",
    4508: "the session has ended",
    4509: "too many connections of this user",
    4510: "replaced by another connection of this session",
    4513: "message too large",
}


class StocksBlitzError(Exception):
    """A request that was refused or failed; ``retryable`` says whether the same request may succeed later."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, status: int | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.status = status

    @classmethod
    def of(cls, answer: httpx.Response) -> StocksBlitzError:
        """Make the error from an HTTP response that is not a success."""
        try:
            body = answer.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict):
            body = {}
        status = answer.status_code
        return cls(
            str(body.get("code", "error")),
            str(body.get("detail") or f"HTTP {status}"),
            retryable=status in (429, 502, 503, 504),
            status=status,
        )


class StreamClosed(StocksBlitzError):
    """A stream that the server closed for good: ``close_code`` is 4500 to 4999, and reconnecting does not help."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__("closed", f"{close_code} {REASONS.get(close_code, reason)}".strip())
        self.close_code = close_code
