"""The SDK against the running server, with the unchanged example of its README."""

import asyncio
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import eventually
from tests.e2e.stack import ROOT

SDK = ROOT / "sdk"
sys.path.insert(0, str(SDK))

from stocksblitz_sdk import MACD, RSI, Client, Indicator, StocksBlitzError

pytestmark = pytest.mark.process


@pytest.fixture
def client(live_stack):
    """The demo user, once the simulated feed has filled its past."""
    with Client(live_stack.url, username="demo", password="demo") as client:
        eventually(
            lambda: len(client.history("NIFTY50", "5min", limit=100)) == 100, what="the feed's history"
        )
        yield client


def test_the_readmes_example_runs(client, live_stack, tmp_path):
    example = re.search(r"```python\n(.*?)```", (SDK / "README.md").read_text(), re.DOTALL)[1]
    script = tmp_path / "example.py"
    script.write_text(example)
    env = {**os.environ, "STOCKSBLITZ_URL": live_stack.url, "PYTHONPATH": str(SDK)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["close", "RSI_14", "MACD_12_26_9.MACD"]
    assert all(re.fullmatch(r"\S+ \S+( +-?[\d.]+){3}", line) for line in lines[2:5]), "three bars, all known"
    assert any(re.match(r"now [\d.]+ ", line) for line in lines)
    assert sum(line.startswith("NIFTY50 ") for line in lines) == 3
    assert done.stderr == ""


def test_two_subscriptions_never_see_each_others_indicators(client):
    with client.subscription() as one, client.subscription() as two:
        one.subscribe("NIFTY50", "5min", [RSI(14), Indicator("CCI", length=20)])
        two.subscribe("NIFTY50", "5min", [RSI(9)])
        assert set(one.get_data("NIFTY50", "5min")["indicators"]) == {"RSI_14", "CCI_20"}
        assert set(two.get_data("NIFTY50", "5min")["indicators"]) == {"RSI_9"}
        two.heartbeat()
        one.unsubscribe("NIFTY50", "5min", ["CCI_20"])
        assert set(one.get_data("NIFTY50", "5min")["indicators"]) == {"RSI_14"}
    with pytest.raises(StocksBlitzError):
        one.get_data("NIFTY50", "5min")


async def test_two_streams_with_history_share_a_connection(client):
    wants = [("NIFTY50", "1min", [RSI(14), MACD()]), ("NIFTY50", "5min", [])]
    async with client.streams(wants, history=20) as updates:
        seen = {}
        async with asyncio.timeout(60):
            async for update in updates:
                seen.setdefault(update.timeframe, []).append(update)
                if all(len(seen.get(timeframe, [])) >= 3 for timeframe in ("1min", "5min")):
                    break
    first = seen["1min"][0]
    assert len(first.history.bars) == 20
    assert len(first.history.indicators["RSI_14"]) == 20
    assert set(first.indicators) == {"RSI_14", "MACD_12_26_9"}
    assert set(first["MACD_12_26_9"]) == {"MACD", "MACDh", "MACDs"}
    assert seen["5min"][1].indicators == {}


async def test_a_symbol_that_is_not_there_is_refused(client):
    with pytest.raises(StocksBlitzError) as raised:
        await asyncio.wait_for(client.stream("NOSUCH", "5min", [RSI()]).__anext__(), 60)
    assert raised.value.code == "unknown_symbol"


def test_quotes_current_values_and_histories_are_read(client):
    assert client.quote("NIFTY50")["price"] > 0
    assert client.current("NIFTY50", "5min", [RSI()])["RSI_14"]["timeframe"] == "5min"
    rows = client.history("NIFTY50", "5min", [RSI()], limit=50, as_frame=False)
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
    assert all(0 <= row["RSI_14"] <= 100 for row in rows[-10:])
