"""Greeks and open interest of what somebody else quotes (pure)."""

from collections.abc import Iterator, Mapping
from math import isfinite

import orjson

from stocksblitz.market.core.options import Chain, Json, interest_of
from stocksblitz.market.feeds.external.ticks import Listing

Note = tuple[str, bytes, bytes]
"""Symbol, its Greeks and its open interest as JSON; empty where there is none."""


def reckon(chains: Mapping[str, Chain], listings: Mapping[str, Listing], now: int) -> Iterator[Note]:
    """What to note of every underlying, option and future, from the newest price of each."""
    options = {contract.symbol for chain in chains.values() for contract in chain.live(now)}
    for underlying, chain in chains.items():
        yield from _of_chain(underlying, chain, listings, now)
    for symbol, listing in listings.items():
        if symbol not in chains and symbol not in options and listing.interest is not None:
            yield _note(symbol, None, interest_of(listing.interest))


def _of_chain(underlying: str, chain: Chain, listings: Mapping[str, Listing], now: int) -> Iterator[Note]:
    live = [
        (contract, listings[contract.symbol]) for contract in chain.live(now) if contract.symbol in listings
    ]
    premiums = {contract.symbol: each.price for contract, each in live if isfinite(each.price)}
    interests = {contract.symbol: each.interest for contract, each in live if each.interest is not None}
    forwards = chain.forwards(premiums, now)
    for contract, listing in live:
        forward = forwards.get(contract.expiry)
        greeks = chain.greeks_of(contract, listing.price, forward, now) if forward else None
        yield _note(contract.symbol, greeks, interest_of(listing.interest) if listing.interest else None)
    if underlying in listings:
        yield _note(underlying, chain.at_the_money(premiums, forwards, now), chain.interest(interests, now))


def _note(symbol: str, greeks: Json | None, oi: Json | None) -> Note:
    return symbol, b"" if greeks is None else orjson.dumps(greeks), b"" if oi is None else orjson.dumps(oi)
