"""Redis behind Sentinel: the master is killed, and every process continues with the replica that replaces it."""

import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import redis as redis_py

from tests.conftest import aeventually, eventually, redis_server
from tests.e2e.stack import free_port
from tests.e2e.tabs import Tab, check_order, token_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

SENTINEL = """
sentinel monitor mymaster 127.0.0.1 {port} 1
sentinel down-after-milliseconds mymaster 1000
sentinel failover-timeout mymaster 5000
"""


class Watched:
    """A master, a replica of it, and a Sentinel that watches both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[int, subprocess.Popen] = {}
        self.ports = [free_port(), free_port()]
        self.sentinel = free_port()

    def start(self) -> None:
        self.serve(self.ports[0])
        self.serve(self.ports[1], "--replicaof", "127.0.0.1", str(self.ports[0]))
        config = self.folder / "sentinel.conf"
        config.write_text(SENTINEL.format(port=self.ports[0]))
        self.run(self.sentinel, str(config), "--sentinel")
        eventually(self.complete, 30, "the Sentinel knows the replica")
        eventually(lambda: self.client(self.ports[1]).info()["master_link_status"] == "up", 30)

    def run(self, port: int, *command: str) -> None:
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        self.running[port] = subprocess.Popen(
            [redis_server(), *command, "--port", str(port), "--dir", str(folder), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        eventually(lambda: self.answers(port), 30)

    def serve(self, port: int, *options: str) -> None:
        self.run(
            port, "--save", "", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", *options
        )

    def client(self, port: int) -> redis_py.Redis:
        return redis_py.Redis(port=port, socket_timeout=2)

    def answers(self, port: int) -> bool:
        try:
            return bool(self.client(port).ping())
        except (redis_py.RedisError, OSError):
            return False

    def ask(self, *words: str):
        return self.client(self.sentinel).execute_command("SENTINEL", *words)

    @property
    def master(self) -> int:
        return int(self.ask("get-master-addr-by-name", "mymaster")[1])

    def complete(self) -> bool:
        """Whether the Sentinel has a replica to promote."""
        found = self.client(self.sentinel).sentinel_slaves("mymaster")
        return len(found) == 1 and not any(each["is_sdown"] or each["is_disconnected"] for each in found)

    def kill_master(self) -> int:
        """Returns its port, once another is the master."""
        port = self.master
        self.running[port].kill()
        self.running[port].wait(10)
        eventually(lambda: self.master != port, 60, "a failover")
        return port

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait(10)


@pytest.fixture
def watched(tmp_path):
    watched = Watched(tmp_path)
    try:
        watched.start()
        yield watched
    finally:
        watched.close()


async def goes_on(server, tab, fresh):
    """A socket that was open, a new one, one-shot computations and the portfolio."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")

    def is_new(message):
        return message["timestamp"] > now and message["indicators"]["SMA_20"]["value"] is not None

    for _ in range(3):
        await tab.next("market_update", is_new, timeout=60)
    other = await Tab.open(server)
    await other.subscribe("BTCUSD", "5min", ["RSI_14"], history=20)
    await other.next("market_update", lambda m: m["indicators"]["RSI_14"]["value"] is not None, timeout=60)
    await other.close()
    token = await token_of(server)
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {token}"}) as http:

        async def computed():
            reply = await http.get(f"/indicators/BTCUSD/current?timeframe=15min&indicators={fresh}")
            return reply.status_code == 200

        async def ready():
            return (await http.get("/readyz")).status_code == 200

        async def valued():
            status = (await http.get("/api/market/portfolio/status")).json()
            return status["is_running"]

        for check in (computed, ready, valued):
            await aeventually(check, 60, check.__name__)


async def test_every_process_follows_two_failovers(stack, watched):
    server = stack(REDIS_URL=f"sentinel://127.0.0.1:{watched.sentinel}/mymaster").start().wait_ready()
    pids = server.pids()
    tab = await Tab.open(server)
    await tab.subscribe("BTCUSD", "1min", ["SMA_20"])
    await goes_on(server, tab, "EMA_9")
    for fresh in ("EMA_10", "EMA_11"):
        old = watched.kill_master()
        began = time.monotonic()
        await goes_on(server, tab, fresh)
        print(f"everything again {time.monotonic() - began:.1f} s after the failover")
        check_order(tab.messages, "BTCUSD", "1min")
        watched.serve(old, "--replicaof", "127.0.0.1", str(watched.master))
        eventually(lambda old=old: watched.client(old).info().get("master_link_status") == "up", 60)
        eventually(watched.complete, 60, "the one that came back is a replica")
    assert server.pids() == pids  # none had to be started again
    await tab.close()


async def test_every_process_leaves_a_master_that_is_demoted_alive(stack, watched):
    """As in a planned failover: the old master answers still, but takes no writes."""
    server = stack(REDIS_URL=f"sentinel://127.0.0.1:{watched.sentinel}/mymaster").start().wait_ready()
    tab = await Tab.open(server)
    await tab.subscribe("BTCUSD", "1min", ["SMA_20"])
    await tab.next("market_update")
    before = watched.master
    eventually(lambda: watched.ask("failover", "mymaster"), 30)
    eventually(lambda: watched.master != before, 60, "a failover")
    await goes_on(server, tab, "EMA_9")
    check_order(tab.messages, "BTCUSD", "1min")
    await tab.close()
