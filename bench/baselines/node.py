"""Run Node's `ws` package, which ``npm install --prefix .data/bench ws`` installs where this module looks for it."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.harness import LOOPBACK, ROOT, Process, Rig, answers, free_port

SERVER = Path(__file__).with_name("node_ws.mjs")
MODULE_FOLDERS = (ROOT / ".data" / "bench" / "node_modules", Path("/usr/share/nodejs"))


def resolver() -> Path | None:
    """Return a file path from which `require("ws")` finds the package, or None when Node or the package is missing."""
    found = [folder for folder in MODULE_FOLDERS if (folder / "ws" / "package.json").exists()]
    return found[0] / "from.js" if found and shutil.which("node") else None


def start(rig: Rig) -> tuple[Process, int]:
    """Start the server; return it and the port on which it accepts lines to publish."""
    source, port, publish_port = resolver(), free_port(), free_port()
    assert source is not None
    argv = ["node", str(SERVER), str(port), str(publish_port)]
    process = rig.start("node", argv, port=port, env={"BENCH_NODE_FROM": str(source)})
    process.wait_until(lambda: answers(port) and answers(publish_port))
    return process, publish_port


async def publisher(publish_port: int, message: bytes) -> Callable[[], Awaitable[None]]:
    """Return a function that sends the message as one line to the publishing port."""
    _, writer = await asyncio.open_connection(LOOPBACK, publish_port)

    async def publish() -> None:
        writer.write(message + b"\n")

    return publish
