"""The tests of this folder share one running server; one worker runs them all (tests/conftest.py)."""

import httpx
import pytest

from tests.conftest import PATIENCE_S
from tests.e2e.live_stack import live_stack  # noqa: F401  (a fixture)


@pytest.fixture(scope="package", autouse=True)
def history_at_start(live_stack) -> dict[str, int]:
    """Count the 5min bars of each symbol as soon as the server says that it is ready."""
    with httpx.Client(base_url=live_stack.url, timeout=PATIENCE_S, trust_env=False) as http:
        signed = http.post("/auth/token", json={"username": "demo", "password": "demo"}).json()
        live_stack.tokens["demo"] = signed["access"]
        http.headers["Authorization"] = f"Bearer {signed['access']}"
        symbols = [row["symbol"] for row in http.get("/api/market/symbols").json()["symbols"]]
        replies = {
            symbol: http.get(f"/api/market/{symbol}/bars?timeframe=5min&limit=1500") for symbol in symbols
        }
    return {symbol: len(reply.json()["bars"]) for symbol, reply in replies.items()}
