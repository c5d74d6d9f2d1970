"""A running ``manage.py run``: what it serves, where it listens, and that its processes are restarted."""

from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import eventually
from tests.e2e.commands import readyz, refused
from tests.e2e.stack import PROCESSES, free_port
from tests.project.test_boundaries import NUMERICS

pytestmark = pytest.mark.process


def test_the_server_serves_once_it_says_ready_and_names_its_processes(live_stack):
    assert readyz(live_stack) == 200
    assert httpx.get(f"{live_stack.url}/healthz", timeout=30, trust_env=False).status_code == 200
    assert set(live_stack.pids()) == PROCESSES
    assert f"StocksBlitz is ready at {live_stack.url}" in live_stack.log.splitlines()


def test_the_history_is_there_as_soon_as_it_is_ready(history_at_start):
    assert len(history_at_start) >= 10
    assert set(history_at_start.values()) == {1500}, history_at_start


def test_the_server_listens_on_loopback_only(live_stack):
    listening = [
        each.laddr.ip
        for process in live_stack.family()
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["portfolio", "feed", "compute", "web", "redis"])
def test_a_killed_process_is_started_again(live_stack, name):
    killed = live_stack.kill(name)
    eventually(lambda: live_stack.pids().get(name, killed) != killed, what=f"{name} with another pid")
    eventually(lambda: set(live_stack.pids()) == PROCESSES and readyz(live_stack) == 200, what="ready again")


def test_a_folder_in_use_is_refused(live_stack):
    said = refused(PORT=str(free_port()), STOCKSBLITZ_DATA=str(live_stack.data))
    assert f"StocksBlitz runs with {live_stack.data} already" in said


def test_the_running_web_process_asks_others_for_calendars(live_stack):
    headers = {"Authorization": f"Bearer {live_stack.tokens['demo']}"}
    with httpx.Client(base_url=live_stack.url, headers=headers) as http:
        for symbol in ("NIFTY50", "AAPL", "EURUSD", "BTCUSD"):
            gaps = f"/api/market/{symbol}/gaps?timeframe=5min&limit=300"
            eventually(lambda gaps=gaps: http.get(gaps).status_code == 200, 30, gaps)
    loaded = Path(f"/proc/{live_stack.pids()['web']}/maps").read_text()
    assert [name for name in NUMERICS if f"/{name}/" in loaded] == []


def test_two_installations_run_side_by_side_and_folder_names_may_be_awkward(live_stack, stack, tmp_path):
    data = tmp_path / "a folder with spaces, 100 % and ünïcode#?"
    other = stack(STOCKSBLITZ_DATA=str(data)).start().wait_ready()
    assert readyz(live_stack) == readyz(other) == 200
    assert not set(live_stack.pids().values()) & set(other.pids().values())
