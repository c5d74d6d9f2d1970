"""Greeks and open interest of an option chain, as the feeds write them (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from stocksblitz.market.core.greeks import Greeks, Parity, greeks, synthetic_forward, years_to

Json = dict[str, object]


class Contract(NamedTuple):
    """An option of a chain; ``expiry`` in ms UTC, ``right`` is ``call`` or ``put``."""

    symbol: str
    expiry: int
    strike: float
    right: str


class Interest(NamedTuple):
    """Open contracts, and how many more than at the end of the session before."""

    oi: float
    change: float


@dataclass(slots=True)
class Chain:
    """The options of one underlying. ``rate``: the interest that premiums are discounted with, a fraction per year."""

    contracts: Sequence[Contract]
    rate: float = 0.0

    def live(self, now: int) -> list[Contract]:
        """Those that have not expired."""
        return [contract for contract in self.contracts if contract.expiry > now]

    def forwards(self, premiums: Mapping[str, float], now: int) -> dict[int, float]:
        """Expiry to its synthetic forward, where one is known."""
        found = {}
        for expiry, parities in self._parities(premiums, now).items():
            forward = synthetic_forward(parities, years_to(expiry, now), self.rate)
            if forward is not None:
                found[expiry] = forward
        return found

    def greeks_of(self, contract: Contract, premium: float, forward: float, now: int) -> Json | None:
        """A contract's own Greeks as clients see them."""
        years = years_to(contract.expiry, now)
        return _shown(greeks(contract.right, premium, forward, contract.strike, years, self.rate))

    def at_the_money(
        self, premiums: Mapping[str, float], forwards: Mapping[int, float], now: int
    ) -> Json | None:
        """The underlying's Greeks: of both options at the strike next to the forward of the nearest expiry."""
        if not forwards:
            return None
        expiry = min(forwards)
        forward = forwards[expiry]
        pairs = {parity.strike for parity in self._parities(premiums, now)[expiry]}
        strike = min(pairs, key=lambda each: (abs(each - forward), each))
        found: Json = {"expiry": _iso(expiry), "strike": strike, "forward": round(forward, 4)}
        for contract in self.live(now):
            if contract.expiry == expiry and contract.strike == strike:
                premium = premiums[contract.symbol]
                found[contract.right] = self.greeks_of(contract, premium, forward, now)
        return found

    def interest(self, interests: Mapping[str, Interest], now: int) -> Json | None:
        """The underlying's open interest: of all its calls and puts, and puts per call."""
        live = [contract for contract in self.live(now) if contract.symbol in interests]
        known = [(contract.right, interests[contract.symbol]) for contract in live]
        if not known:
            return None
        call, put = (sum(each.oi for right, each in known if right == side) for side in ("call", "put"))
        change = sum(each.change for _, each in known)
        return {"call": call, "put": put, "pcr": round(put / call, 4) if call else None, "change": change}

    def _parities(self, premiums: Mapping[str, float], now: int) -> dict[int, list[Parity]]:
        by_strike: dict[tuple[int, float], dict[str, float]] = {}
        for contract in self.live(now):
            if (premium := premiums.get(contract.symbol)) is not None:
                by_strike.setdefault((contract.expiry, contract.strike), {})[contract.right] = premium
        found: dict[int, list[Parity]] = {}
        for (expiry, strike), sides in by_strike.items():
            if len(sides) == 2:
                found.setdefault(expiry, []).append(Parity(strike, sides["call"], sides["put"]))
        return found


def interest_of(interest: Interest) -> Json:
    """Open interest of one option or future."""
    return {"oi": interest.oi, "change": interest.change}


def _shown(found: Greeks | None) -> Json | None:
    return None if found is None else {name: float(f"{value:.6g}") for name, value in found._asdict().items()}


def _iso(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def chains(rows: Iterable[tuple[str, Contract]], rate: float) -> dict[str, Chain]:
    """Underlying to its chain, from pairs of both."""
    found: dict[str, list[Contract]] = {}
    for underlying, contract in rows:
        found.setdefault(underlying, []).append(contract)
    return {underlying: Chain(contracts, rate) for underlying, contracts in found.items()}
