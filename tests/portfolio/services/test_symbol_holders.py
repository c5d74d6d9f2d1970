"""The public sets of holders: junk in one costs nothing but itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio.services.symbol_holders import change_holders, decode_holders, rebuild


@given(st.sets(st.binary(max_size=60) | st.from_regex(rb"(live|demo):[0-9]{1,5}", fullmatch=True)))
def test_members_that_are_no_accounts_of_the_type_are_skipped(members):
    good, bad = decode_holders(members, "live")
    assert {key.encode() for key in good} <= members
    assert all(key.startswith("live:") for key in good)
    assert bool(bad) == (len(good) < len(members))


def test_a_key_of_another_type_holds_nobody(redis, keys):
    good, [error] = decode_holders(TypeError("WRONGTYPE"), "live")
    assert not good
    assert "a set" in str(error)


@pytest.mark.parametrize("junk", ["string", "list"])
def test_a_key_of_another_type_is_replaced_and_the_others_are_written(redis, keys, junk):
    spoilt, other = keys.holders("EURUSD", "live"), keys.holders("GBPUSD", "live")
    redis.set(spoilt, "junk") if junk == "string" else redis.rpush(spoilt, "junk")
    change_holders(add={("EURUSD", "live"): ["live:1"], ("GBPUSD", "live"): ["live:2"]}, remove={})
    assert (redis.smembers(spoilt), redis.smembers(other)) == ({b"live:1"}, {b"live:2"})


@pytest.mark.django_db
def test_the_sets_are_rebuilt_over_junk(redis, keys):
    redis.set(keys.holders("EURUSD", "live"), "junk")
    redis.sadd(keys.holders("GBPUSD", "live"), b"\xff\xfe", "", "live:1")
    assert rebuild() == (0, 3)
    assert not redis.exists(keys.holders("EURUSD", "live"), keys.holders("GBPUSD", "live"))
