"""Run nginx with nchan, which delivers to WebSocket subscribers in C: one worker that keeps only the newest message."""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.harness import LOOPBACK, Process, Rig, free_port

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

CONFIG = """
load_module {module};
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log crit;
user {user};
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 64M;
  server {{
    listen {host}:{port};
    location = /publish {{ nchan_publisher; nchan_channel_id stream; nchan_message_buffer_length 1; }}
    location = /subscribe {{
      nchan_subscriber websocket; nchan_channel_id stream; nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def installed() -> bool:
    """Return whether nginx and its nchan module are installed."""
    return MODULE.exists() and shutil.which("nginx") is not None


def start(rig: Rig) -> Process:
    """Start nginx; the measured process is its only worker, which holds every socket."""
    folder, port = rig.folder / "nginx", free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(module=MODULE, folder=folder, host=LOOPBACK, port=port, user="root"))
    nginx = rig.start("nginx", ["nginx", "-p", str(folder), "-c", str(config)], port=port)
    rig.serving(nginx).wait_until(lambda: bool(workers(nginx.pid)))
    nginx.worker = workers(nginx.pid)[0]
    return nginx


def workers(pid: int) -> list[int]:
    """Return the worker processes of an nginx master: none at first, then one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"worker process" in cmdline(child)]


def cmdline(pid: str) -> bytes:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def publisher(process: Process, message: bytes) -> Callable[[], Awaitable[None]]:
    """Return a function that posts the message on one connection, which stays open."""
    reader, writer = await asyncio.open_connection(LOOPBACK, process.port)
    head = f"POST /publish HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: {len(message)}\r\n\r\n".encode()

    async def publish() -> None:
        writer.write(head + message)
        answer = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(content_length(answer))

    return publish


def content_length(head: bytes) -> int:
    """Return the Content-Length of a response head, or 0 without one."""
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0
