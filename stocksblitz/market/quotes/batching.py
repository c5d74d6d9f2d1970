"""Requests made in one turn of the event loop are sent together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence


class Batcher[Ask, Answer]:
    """Collects requests until the loop has run everything that is ready, then sends them as one batch.

    ``send`` takes the requests and returns their answers in the same order. An answer that is an exception is
    raised to its own caller alone, an exception of ``send`` to all callers of the batch.
    """

    def __init__(
        self, send: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]], most: int
    ) -> None:
        self._send, self._most = send, most
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, what: Ask) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._go)
        self._waiting.append((what, future))
        return await future

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._most):
            task = asyncio.ensure_future(self._deliver(waiting[start : start + self._most]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, waiting: list[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._send([what for what, _ in waiting])
        except Exception as error:  # every caller gets it
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
