"""Idempotency keys: what is slow happens before the transaction that books."""

import pytest
from django.db import connection

from portfolio.services import accounts
from tests.portfolio.api.calls import P, order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quoted_in_transaction(monkeypatch):
    """Record for each quote that is fetched whether a transaction was open."""
    seen = []
    fetch = accounts.current_quote

    def recording(key, symbol):
        seen.append(connection.in_atomic_block)
        return fetch(key, symbol)

    monkeypatch.setattr(accounts, "current_quote", recording)
    return seen


def test_a_quote_is_fetched_before_the_transaction_and_once(
    real, instruments, rest, account, price, quoted_in_transaction
):
    key = account()
    price("EURUSD", "1.2788", "1.2790")
    headers = {"Idempotency-Key": "open-1"}
    first = order(rest, key, headers=headers)
    assert order(rest, key, headers=headers) == first
    position = first["fills"][0]["position"]
    rest["alice"]("post", f"{P}/{position}/close", {}, **{"Idempotency-Key": "close-1"})
    assert quoted_in_transaction == [False, False]
