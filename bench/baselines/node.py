"""Node with its `ws` package, which ``npm install --prefix .data/bench ws`` puts where it is looked for."""

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.harness import LOOPBACK, ROOT, Process, Rig, answers, free_port

SERVER = Path(__file__).with_name("node_ws.mjs")
PLACES = (ROOT / ".data" / "bench" / "node_modules", Path("/usr/share/nodejs"))


def resolver() -> Path | None:
    """A file name from which `require("ws")` finds the package, or None."""
    found = [place for place in PLACES if (place / "ws" / "package.json").exists()]
    return found[0] / "from.js" if found and shutil.which("node") else None


def version() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def start(rig: Rig) -> tuple[Process, int]:
    """The server and the port on which it takes lines to publish."""
    source, port, publish_port = resolver(), free_port(), free_port()
    assert source is not None
    argv = ["node", str(SERVER), str(port), str(publish_port)]
    process = rig.start("node", argv, port=port, env={"BENCH_NODE_FROM": str(source)})
    process.wait_until(lambda: answers(port) and answers(publish_port))
    return process, publish_port


async def publisher(publish_port: int, message: bytes) -> Callable[[], Awaitable[None]]:
    _, writer = await asyncio.open_connection(LOOPBACK, publish_port)

    async def publish() -> None:
        writer.write(message + b"\n")

    return publish
