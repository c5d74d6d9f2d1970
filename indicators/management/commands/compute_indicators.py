"""The compute worker: indicators of the symbols it holds, and one-shot computations. Several share the work."""

import asyncio
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandParser

from indicators.worker.process import ComputeWorker
from stocksblitz.workers.runtime import stop_event


class Command(BaseCommand):
    help = (
        "Compute what live sessions subscribe to. Start as many as there is work for; each takes its share."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="do what is due and end")

    def handle(self, *args: Any, **options: Any) -> None:
        uvloop.run(self._run(once=options["once"]))

    async def _run(self, *, once: bool) -> None:
        worker = ComputeWorker()
        with stop_event() as stop:
            if once:
                asyncio.get_running_loop().call_later(5.0, stop.set)
            await worker.run(stop)
