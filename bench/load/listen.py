"""Count the messages that Redis publishes, without the cost of a client library."""

import asyncio
from collections.abc import Sequence

MARK = b"$7\r\nmessage\r\n"
"""Bytes that each published message contains exactly once, in Redis's protocol."""


class Listener(asyncio.Protocol):
    """Subscriber to channels over Redis's unix socket; ``until`` waits for a total number of messages."""

    def __init__(self) -> None:
        self.messages = 0
        self._rest = b""
        self._goal = 0
        self._reached: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, url: str, channels: Sequence[str]) -> "Listener":
        """Connect to a ``unix://`` address and subscribe to the channels."""
        transport, listener = await asyncio.get_running_loop().create_unix_connection(
            cls, url.removeprefix("unix://")
        )
        words = ["SUBSCRIBE", *channels]
        parts = [f"*{len(words)}\r\n", *[f"${len(word)}\r\n{word}\r\n" for word in words]]
        transport.write("".join(parts).encode())
        return listener

    def data_received(self, data: bytes) -> None:
        seen = self._rest + data
        self.messages += seen.count(MARK)
        self._rest = seen[
            -(len(MARK) - 1) :
        ]  # long enough for a mark that is cut in two, too short for a whole one
        if self._reached and self.messages >= self._goal and not self._reached.done():
            self._reached.set_result(None)

    async def until(self, goal: int, timeout: float) -> None:
        """Wait until ``goal`` messages have arrived in total; raise TimeoutError with the number that did."""
        if self.messages >= goal:
            return
        self._goal, self._reached = goal, asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._reached, timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.messages} of {goal} messages after {timeout} s") from None
        finally:
            self._reached = None
