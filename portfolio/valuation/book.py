"""All positions of a shard as float64 columns, revalued at once (pure).

The arithmetic is that of `portfolio.margin.margin`, which it is held against. The positions of an account stand in
one block of rows; a changed account gets a new block, and the rows it leaves belong to slot 0, which is
nobody's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from portfolio.margin.fx import Graph
from portfolio.margin.margin import tier_factor
from portfolio.margin.types import BUY, ZERO, Holding, MarginAccount, Rules
from portfolio.valuation.column_table import Flags, Floats, Ints, Table, sums
from portfolio.valuation.price_columns import ASK, BID, MID, NEVER, Currencies, Prices, PriceTick

OK, CALL, STOP, STALE = 0, 1, 2, 3
STATES = ("ok", "margin_call", "stop_out", "stale")
EDGE = 1e-9
"""Relative room at a level: an account this near is shown as having reached it, and the oracle decides."""

_ROWS: dict[str, Any] = {
    "account": np.int64,  # slot
    "id": np.int64,
    "symbol": np.int64,  # its row among the prices
    "mark": np.int64,  # cells: what it is marked at, and what a gain or a loss is converted with
    "gain": np.int64,
    "loss": np.int64,
    "units": np.float64,  # signed, 0 for an order
    "open": np.float64,
    "lots": np.float64,  # signed
    "charge": np.float64,  # margin by itself = charge x price cell x rate cell; frozen ones point to 1.0
    "charge_price": np.int64,
    "charge_rate": np.int64,
    "hedged_share": np.float64,
    "larger_leg": np.bool_,
    "pending": np.bool_,
    "pnl": np.float64,
}
_SLOTS: dict[str, Any] = {
    "start": np.int64,
    "count": np.int64,
    "balance": np.float64,
    "fixed": np.float64,
    "moving": np.bool_,
    "netting": np.bool_,
    "tier": np.float64,
    "call": np.float64,
    "stop": np.float64,
    "in_money": np.bool_,
    "single": np.int64,
    "mid": np.bool_,
    "unrealized": np.float64,
    "used": np.float64,
    "stale": np.bool_,
    "state": np.int64,
}


class Book:
    """Accounts in columns. ``slot`` numbers are stable while an account is in the book."""

    def __init__(self, graph: Graph) -> None:
        self.prices = Prices()
        self.currencies = Currencies(self.prices, graph)
        self.slots = Table(_SLOTS)
        self.rows = Table(_ROWS)
        self.keys: list[str | None] = [None]
        self.index: dict[str, int] = {}
        self._free: list[int] = []
        self._moved: set[int] = set()
        self._end = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def used_rows(self) -> int:
        """The rows in use, with those of dropped accounts that no compaction has removed yet."""
        return self._end

    # --- Prices

    def tick(self, ticks: Mapping[str, PriceTick | None], now: int) -> list[str]:
        """Take in prices, and the rates that follow from them; returns the symbols whose price or freshness
        changed (also what turned stale by the clock).
        """
        changed = [symbol for symbol, tick in ticks.items() if self.prices.put(symbol, tick, now)]
        changed += [symbol for symbol in self.prices.expire(now) if symbol not in ticks]
        self._moved.update(self.currencies.follow(changed))
        return changed

    def depending(self, changed: Iterable[str]) -> Ints:
        """Return the slots whose value depends on these symbols, by a position in them or by a conversion that moved
        since this was last called.
        """
        moved, self._moved = self._moved, set()
        price = self.prices.mask(self.prices.number(symbol) for symbol in changed)
        hit = price[self.rows.mark[: self._end]]
        if moved:
            rate = self.currencies.mask(moved)
            hit |= rate[self.rows.gain[: self._end]] | rate[self.rows.charge_rate[: self._end]]
        mask = np.zeros(len(self.keys), bool)
        mask[self.rows.account[: self._end][hit]] = True
        mask[0] = False
        return np.flatnonzero(mask)

    # --- Accounts

    def put(self, accounts: Mapping[str, MarginAccount]) -> Ints:
        """Take in accounts, or replace what is known of them; returns their slots."""
        slots = np.array([self._slot(key) for key in accounts], np.int64)
        counts = np.array([len(a.positions) + len(a.orders) for a in accounts.values()], np.int64)
        for slot in slots:
            self._leave(int(slot))
        total = int(counts.sum())
        self.rows.reserve(self._end + total)
        starts = self._end + np.cumsum(counts) - counts
        self.slots.start[slots], self.slots.count[slots] = starts, counts
        self._fill_slots(slots, list(accounts.values()))
        self._fill_rows(slots, list(accounts.values()))
        self._end += total
        self.slots.fixed[slots] = self._used(slots)
        if self._dead > max(4096, self._end // 2):
            self._compact()
        return slots

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            slot = self.index.pop(key, None)
            if slot is not None:
                self._leave(slot)
                self.slots.count[slot], self.slots.state[slot] = 0, OK
                self.keys[slot] = None
                self._free.append(slot)

    def _slot(self, key: str) -> int:
        slot = self.index.get(key)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self.keys[slot] = key
            else:
                slot = len(self.keys)
                self.keys.append(key)
                self.slots.reserve(slot + 1)
            self.index[key] = slot
            self.slots.count[slot] = 0
        return slot

    def _leave(self, slot: int) -> None:
        start, count = int(self.slots.start[slot]), int(self.slots.count[slot])
        self.rows.account[start : start + count] = 0
        self.rows.units[start : start + count] = 0.0
        self.rows.charge[start : start + count] = 0.0
        self._dead += count

    def _fill_slots(self, slots: Ints, accounts: Sequence[MarginAccount]) -> None:
        s = self.slots
        rules = [account.rules for account in accounts]
        s.balance[slots] = [float(account.balance) for account in accounts]
        s.moving[slots] = [_moving(account) for account in accounts]
        s.netting[slots] = [rule.netting for rule in rules]
        s.mid[slots] = [rule.mid for rule in rules]
        s.in_money[slots] = [rule.in_money for rule in rules]
        s.call[slots] = [float(rule.margin_call) for rule in rules]
        s.stop[slots] = [float(rule.stop_out) for rule in rules]
        s.tier[slots] = [_tier(account) for account in accounts]
        s.single[slots] = [self._single(account) for account in accounts]
        s.unrealized[slots] = s.used[slots] = 0.0

    def _single(self, account: MarginAccount) -> int:
        """The symbol of an account that holds one alone, else -1."""
        symbols = {holding.terms.symbol for holding in account.positions}
        return self.prices.number(symbols.pop()) if len(symbols) == 1 else -1

    def _fill_rows(self, slots: Ints, accounts: Sequence[MarginAccount]) -> None:
        lines = []
        for slot, account in zip(slots.tolist(), accounts, strict=True):
            lines += [self._line(slot, h, account.rules, pending=False) for h in account.positions]
            lines += [self._line(slot, h, account.rules, pending=True) for h in account.orders]
        if lines:
            at = slice(self._end, self._end + len(lines))
            for name, values in zip(_ROWS, zip(*lines, strict=True), strict=True):
                self.rows.column(name)[at] = values

    def _line(self, slot: int, holding: Holding, rules: Rules, *, pending: bool) -> tuple[Any, ...]:
        """One row, in the order of `_ROWS`."""
        terms, buy = holding.terms, holding.side == BUY
        symbol = self.prices.number(terms.symbol)
        opened = MID if rules.mid else ASK if buy else BID
        closed = MID if rules.mid else BID if buy else ASK
        mark = gain = loss = charge_price = charge_rate = 0
        if not pending:
            pair = 3 * self.currencies.pair(terms.currency, rules.currency)
            mark, gain, loss = 3 * symbol + closed, pair + BID, pair + ASK
            if rules.mid:
                gain = loss = pair + MID
        if pending or (holding.margin is not None and not rules.floating):
            charge = np.nan if holding.margin is None else float(holding.margin)
        else:
            charge = float(holding.quantity * terms.lot_margin(rules.leverage, opened=True))
            charge_price = 3 * symbol + opened if terms.price_based else 0
            charge_rate = 3 * self.currencies.pair(terms.margin_currency, rules.currency) + opened
        units = 0.0 if pending else holding.side * float(holding.units)
        lots, share = holding.side * float(holding.quantity), float(terms.hedged_share)
        return (
            *(slot, holding.id, symbol, mark, gain, loss, units, float(holding.price), lots),
            *(charge, charge_price, charge_rate, share, terms.larger_leg, pending, 0.0),
        )

    def _compact(self) -> None:
        live = np.flatnonzero(self.rows.account[: self._end])
        self.rows.keep(live)
        self._end, self._dead = len(live), 0
        # Blocks stay whole and in order, so the first row of each account is where its number changes.
        owners = self.rows.account[: self._end]
        first = np.flatnonzero(np.diff(owners, prepend=-1))
        self.slots.start[owners[first]] = first

    # --- Values

    def rows_of(self, slots: Ints) -> tuple[Ints, Ints]:
        """Return the rows of these accounts, block after block, and for each row the place of its account in
        ``slots``.
        """
        counts = self.slots.count[slots]
        owner = np.repeat(np.arange(len(slots)), counts)
        before = np.cumsum(counts) - counts
        return np.arange(len(owner)) + np.repeat(self.slots.start[slots] - before, counts), owner

    def revalue(self, slots: Ints | None = None) -> None:
        """Value these accounts again (all of them: None): P&L of each position, unrealized, used, stale,
        state.
        """
        if slots is None:
            at: Any = slice(0, self._end)
            owner, size = self.rows.account[at], len(self.keys)
            out: Ints = np.arange(size)
        else:
            at, owner = self.rows_of(slots)
            out, size = slots, len(slots)
        r, s = self.rows, self.slots
        earned = (self.prices.values[r.mark[at]] - r.open[at]) * r.units[at]
        pnl = earned * self.currencies.values[np.where(earned >= 0, r.gain[at], r.loss[at])]
        r.pnl[at] = pnl
        s.unrealized[out] = sums(owner, pnl, size)
        used, moving = s.fixed[out], s.moving[out]
        if moving.any():
            used[moving] = self._used(out[moving])
        s.used[out] = used
        s.stale[out] = self._stale(at, owner, size) | np.isnan(s.unrealized[out]) | np.isnan(used)
        s.state[out] = self._state(out)

    def _stale(self, at: Any, owner: Ints, size: int) -> Flags:
        """Return which accounts depend on a price or rate that is missing or old."""
        stale = np.zeros(size, bool)
        if not (self.prices.all_fresh() and self.currencies.all_fresh()):
            price, rate, r = self.prices.fresh, self.currencies.fresh, self.rows
            stale[owner[~(price[r.mark[at]] & rate[r.gain[at]] & rate[r.charge_rate[at]])]] = True
        return stale

    def _used(self, slots: Ints) -> Floats:
        """Used margin of accounts: charges by symbol and side, hedged volume, pending orders, tiers."""
        at, owner = self.rows_of(slots)
        r = self.rows
        price, rate = self.prices.values[r.charge_price[at]], self.currencies.values[r.charge_rate[at]]
        charge = r.charge[at] * price * rate
        _, first, group = np.unique(
            owner * len(self.prices.names) + r.symbol[at], return_index=True, return_inverse=True
        )
        count, lots, pending = len(first), r.lots[at], r.pending[at]

        def total(which: Flags, weights: Floats) -> Floats:
            return sums(group[which], weights[which], count)

        buy = lots > 0
        long_lots, short_lots = total(buy & ~pending, lots), total(~buy & ~pending, -lots)
        long, short = total(buy & ~pending, charge), total(~buy & ~pending, charge)
        held = _hedged(long_lots, short_lots, long, short, r.hedged_share[at[first]], r.larger_leg[at[first]])
        buys, sells = total(buy & pending, charge), total(~buy & pending, charge)
        is_long = long_lots >= short_lots
        same, against = np.where(is_long, buys, sells), np.where(is_long, sells, buys)
        netting = self.slots.netting[slots[owner[first]]]
        charged = np.where(netting, np.maximum(held + same, against), held + same + against)
        used: Floats = sums(owner[first], charged, len(slots)) * self.slots.tier[slots]
        return used

    def _state(self, slots: Ints) -> Ints:
        s = self.slots
        equity, used, in_money = self.equity(slots), s.used[slots], s.in_money[slots]

        def reached(level: Floats) -> Flags:
            line = np.where(in_money, level, level * used / 100)
            flags: Flags = (in_money | (used > 0)) & (equity <= line + EDGE * np.abs(line))
            return flags

        state = np.where(reached(s.stop[slots]), STOP, np.where(reached(s.call[slots]), CALL, OK))
        return np.where(s.stale[slots], STALE, state)

    def equity(self, slots: Ints) -> Floats:
        equity: Floats = self.slots.balance[slots] + self.slots.unrealized[slots]
        return equity

    def oldest(self, slots: Ints) -> Ints:
        """Return the time (ms) of the oldest price that each account depends on; 0 when it depends on none."""
        at, _ = self.rows_of(slots)
        r = self.rows
        rates = self.currencies.ts
        ts: Ints = np.minimum(self.prices.ts[r.mark[at]], rates[r.gain[at]])
        ts = np.minimum(ts, rates[r.charge_rate[at]])
        out = np.full(len(slots), NEVER)
        filled = np.flatnonzero(self.slots.count[slots])
        if len(filled):
            counts = self.slots.count[slots[filled]]
            out[filled] = np.minimum.reduceat(ts, np.cumsum(counts) - counts)
        out[out == NEVER] = 0
        return out

    def prices_at(self, slots: Ints, levels: Floats) -> Floats:
        """`portfolio.margin.levels.price_at` for many accounts; NaN where there is no such price."""
        r, s = self.rows, self.slots
        out = np.full(len(slots), np.nan)
        chosen = np.flatnonzero((s.single[slots] >= 0) & ~s.moving[slots] & ~np.isnan(s.unrealized[slots]))
        slots, level, symbol = slots[chosen], levels[chosen], s.single[slots[chosen]]
        at, owner = self.rows_of(slots)
        units, size = r.units[at], len(slots)
        net = sums(owner, units, size)
        cost = sums(owner, units * r.open[at], size)
        spread = self.prices.values[3 * symbol + ASK] - self.prices.values[3 * symbol + BID]
        spread = np.where(s.mid[slots], 0.0, spread)
        cost += spread * sums(owner, np.maximum(-units, 0.0), size)
        used, in_money = s.used[slots], s.in_money[slots]
        need = np.where(in_money, level, level * used / 100) - s.balance[slots]
        first = s.start[slots]  # positions stand before orders
        inverse = np.array(self.currencies.own, np.int64)[r.gain[first] // 3] == symbol
        rate = self.currencies.values[np.where(need >= 0, r.gain[first], r.loss[first])]
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.where(need >= 0, need * spread, 0.0)
            bid = np.where(inverse, (cost + over) / (net - need), (need / rate + cost) / net)
        known = (in_money | (used > 0)) & (net != 0) & np.isfinite(bid) & (bid > 0)
        out[chosen] = np.where(known, np.where(net > 0, bid, bid + spread), np.nan)
        return out

    def missing(self, slot: int) -> list[str]:
        """Return the symbols and conversions of which the account lacks a price."""
        at, _ = self.rows_of(np.array([slot]))
        names = set()
        for row in at.tolist():
            symbol = int(self.rows.mark[row]) // 3
            pairs = {int(self.rows.gain[row]) // 3, int(self.rows.charge_rate[row]) // 3}
            names |= {self.prices.names[symbol]} if not self.prices.known(symbol) else set()
            names |= {self.currencies.names[pair] for pair in pairs if not self.currencies.known(pair)}
        return sorted(names)


def _moving(account: MarginAccount) -> bool:
    return account.rules.floating or any(holding.margin is None for holding in account.positions)


def _tier(account: MarginAccount) -> float:
    lots = sum((holding.quantity for holding in (*account.positions, *account.orders)), ZERO)
    return float(tier_factor(lots, account.rules.tiers))


def _hedged(
    long_lots: Floats, short_lots: Floats, long: Floats, short: Floats, share: Floats, larger_leg: Flags
) -> Floats:
    """`portfolio.margin.margin.hedged`, for many symbols at once."""
    both = (long_lots > 0) & (short_lots > 0)
    most, least = np.maximum(long_lots, short_lots), np.minimum(long_lots, short_lots)
    larger = np.where(long_lots >= short_lots, long, short)
    lots = np.where(both, long_lots + short_lots, 1.0)
    basic = larger * (most - least) / np.where(both, most, 1.0) + least * share * (long + short) / lots
    return np.where(both, np.where(larger_leg, np.maximum(long, short), basic), long + short)
