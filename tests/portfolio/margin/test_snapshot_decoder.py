"""Account snapshots from Redis: whole ones have a stamp, anything else is BadData."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio.margin.fx import Graph
from portfolio.margin.margin import value
from portfolio.margin.snapshot import snapshot
from portfolio.margin.snapshot_decoder import MAX_AHEAD_MS, decode_stamp, stamp_at_head
from portfolio.margin.types import MarginAccount, MarketPrices, Rules
from stocksblitz.redis.decoding import BadData

NOW = 1_800_000_000_000


def written(**changes):
    """A snapshot as the engine writes it, with fields changed or (None) left out."""
    account, market = MarginAccount(Rules("USD"), Decimal(100)), MarketPrices({}, Graph(()))
    stamp = {"epoch": NOW - 5, "version": NOW, "ts": NOW, "source": "external"}
    fields = {**stamp, **snapshot("live:1", account, value(account, market), market, **stamp), **changes}
    return orjson.dumps({name: field for name, field in fields.items() if field is not ...})


def test_a_whole_snapshot_has_its_stamp():
    assert decode_stamp(written(), "live:1", NOW) == stamp_at_head(written()) == (NOW - 5, NOW)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"junk", b"null", b"[1,2]", b"{}", b'{"epoch":NaN,"version":1}', b'{"epoch":5,"version":9,junk',
        b'{"epoch":5,"version":9]', b" " + written(), written()[:-1], written(equity=1), written(stale="no"),
        written(positions={}), written(type="error"), written(state=...), written(account="live:2"),
        written(epoch="x"), written(epoch=NOW + MAX_AHEAD_MS + 1), written(version=2**63),
    ],
)  # fmt: skip
def test_anything_else_is_bad_data(raw):
    with pytest.raises(BadData):
        decode_stamp(raw, "live:1", NOW)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=99).map(lambda tail: written()[:60] + tail)))
def test_no_bytes_raise_anything_but_bad_data(raw):
    stamp_at_head(raw)
    with pytest.raises(BadData):
        decode_stamp(raw, "live:1", NOW)
