"""Pending orders found by a tick, against looking at every one of them."""

from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from portfolio.margin.order_rules import triggered
from portfolio.margin.types import Holding, Quote, Terms
from portfolio.valuation.order_triggers import Triggers

TERMS = Terms("X", "USD")
orders = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "c", "d")),
        st.sampled_from((1, -1)),
        st.sampled_from(("limit", "stop")),
        st.integers(1, 9),
    ),
    max_size=20,
)


@given(orders, orders, st.integers(1, 9), st.integers(0, 2))
def test_the_index_finds_exactly_what_is_due(first, second, bid, spread):
    index, held = Triggers(), {}
    for batch in (first, second):  # the second replaces what the same accounts had
        fresh = {}
        for i, (account, side, kind, price) in enumerate(batch):
            fresh.setdefault(account, []).append(Holding(i, TERMS, side, D(1), D(price), D(0), kind))
        for account, rows in fresh.items():
            index.put(account, rows)
        held |= fresh
    quote = Quote(D(bid), D(bid + spread))
    wanted = {a for a, rows in held.items() if any(triggered(o.kind, o.side, o.price, quote) for o in rows)}
    assert index.due("X", float(bid), float(bid + spread)) == wanted
    assert index.due("Y", 1.0, 1.0) == set()
    for account in list(held):
        index.drop(account)
    assert all(index.due("X", float(price), float(price)) == set() for price in range(11))
