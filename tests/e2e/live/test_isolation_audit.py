"""A randomised audit: many sessions change what they have while frames flow, and every message is checked.

``make bench isolation`` does it faster, with values that tell where they come from; here everything is real, compute
too. ``AUDIT_SECONDS`` makes it longer; the number of deliveries is printed.
"""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from bench.load.audit import Audit
from tests.e2e.stack import ROOT

SECONDS = float(os.environ.get("AUDIT_SECONDS", "8"))
pytestmark = [pytest.mark.process, pytest.mark.timeout(SECONDS + 600)]
USERS, SESSIONS = 20, 200
ENOUGH = 5_000
"""Deliveries that are checked at least, however slow the machine is."""
SYMBOLS = ["NIFTY50", "BANKNIFTY", "RELIANCE", "TCS", "INFY", "AAPL", "MSFT", "EURUSD", "BTCUSD", "ETHUSD"]
PAIRS = [(symbol, timeframe) for symbol in SYMBOLS for timeframe in ("1min", "5min", "1h")]
INDICATORS = ["RSI_14", "RSI_14_100", "SMA_20", "EMA_9", "MACD_12_26_9", "BBANDS_20_2", "ATR_14"]

MAKE_LOGINS = f"""
import json
from django.contrib.auth.models import User
from stocksblitz.identity.models import Login
from stocksblitz.identity.tokens import issue
users = [User.objects.get_or_create(username=f"audit{{n}}")[0] for n in range({USERS})]
print(json.dumps([issue(Login.objects.create(user=user))["access"] for user in users]))
"""


def logins(stack) -> list[str]:
    """A token of each user."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_LOGINS]
    made = subprocess.run(command, cwd=ROOT, env=stack.env, check=True, timeout=300, capture_output=True)
    return json.loads(made.stdout)


async def test_every_message_holds_exactly_the_subscriptions_of_its_session(live_stack):
    tokens = await asyncio.to_thread(logins, live_stack)
    audit = Audit([live_stack.port], PAIRS, INDICATORS, sign_in=tokens.__getitem__)
    try:
        await audit.begin(USERS, SESSIONS)
        await audit.run(SECONDS)
        while audit.deliveries < ENOUGH and not audit.found:
            await audit.run(SECONDS)
    finally:
        audit.close()
    print(f"{audit.deliveries} deliveries, {dict(audit.kinds)}, {dict(audit.done)}")
    assert audit.found == []
