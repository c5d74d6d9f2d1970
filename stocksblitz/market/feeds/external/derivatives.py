"""Greeks and open interest of symbols whose prices another program writes (pure)."""

from collections.abc import Iterator, Mapping
from math import isfinite

import orjson

from stocksblitz.market.core.options import Chain, Json, interest_of
from stocksblitz.market.feeds.external.ticks import Listing

ChainValues = tuple[str, bytes, bytes]
"""Symbol, its Greeks and its open interest as JSON; empty where there is none."""


def chain_values(
    chains: Mapping[str, Chain], listings: Mapping[str, Listing], now: int
) -> Iterator[ChainValues]:
    """Yield the values of every underlying, option and future, computed from the newest prices."""
    options = {contract.symbol for chain in chains.values() for contract in chain.live(now)}
    for underlying, chain in chains.items():
        yield from _of_chain(underlying, chain, listings, now)
    for symbol, listing in listings.items():
        if symbol not in chains and symbol not in options and listing.interest is not None:
            yield _values(symbol, None, interest_of(listing.interest))


def _of_chain(
    underlying: str, chain: Chain, listings: Mapping[str, Listing], now: int
) -> Iterator[ChainValues]:
    live = [
        (contract, listings[contract.symbol]) for contract in chain.live(now) if contract.symbol in listings
    ]
    premiums = {contract.symbol: listing.price for contract, listing in live if isfinite(listing.price)}
    interests = {
        contract.symbol: listing.interest for contract, listing in live if listing.interest is not None
    }
    forwards = chain.forwards(premiums, now)
    for contract, listing in live:
        forward = forwards.get(contract.expiry)
        greeks = chain.greeks_of(contract, listing.price, forward, now) if forward else None
        yield _values(contract.symbol, greeks, interest_of(listing.interest) if listing.interest else None)
    if underlying in listings:
        yield _values(underlying, chain.at_the_money(premiums, forwards, now), chain.interest(interests, now))


def _values(symbol: str, greeks: Json | None, oi: Json | None) -> ChainValues:
    return symbol, b"" if greeks is None else orjson.dumps(greeks), b"" if oi is None else orjson.dumps(oi)
