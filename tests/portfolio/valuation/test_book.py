"""The columns against the Decimal oracle over random books: twelve currencies, hedged and netted, and what
must hold.
"""

import math
import random
from decimal import Decimal as D

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portfolio.margin.fx import Graph, Pair
from portfolio.margin.levels import price_at, state
from portfolio.margin.margin import converted, gain, mark, opening_margin, value
from portfolio.margin.types import BUY, SELL, Holding, MarginAccount, MarketPrices, Quote, Rules, Terms
from portfolio.valuation.book import STATES, Book
from portfolio.valuation.price_columns import PriceTick

CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "NZD", "INR", "SEK", "SGD", "ZAR")
WORTH = dict(
    zip(
        CURRENCIES,
        ("1", "1.1", "1.27", "0.0067", "1.12", "0.66", "0.73", "0.6", "0.012", "0.095", "0.74", "0.054"),
        strict=True,
    )
)
# A tree with inverted and direct pairs, so that most conversions take two or three steps.
PAIR_NAMES = (
    "EURUSD",
    "GBPUSD",
    "USDJPY",
    "USDCHF",
    "AUDUSD",
    "EURGBP",
    "USDCAD",
    "AUDNZD",
    "USDINR",
    "EURSEK",
    "USDSGD",
    "EURZAR",
)
GRAPH = Graph(Pair(name, name[:3], name[3:]) for name in PAIR_NAMES)
MODES = ("forex", "forex_no_leverage", "cfd", "cfd_leverage", "stock", "futures")
NOW = 1_700_000_000_000


def make_terms(rng):
    terms = [
        Terms(
            n,
            n[3:],
            n[:3],
            contract_size=D(100000),
            mode=rng.choice(MODES[:2]),
            hedged_margin=D(rng.choice((0, 50000, 100000))),
        )
        for n in PAIR_NAMES
    ]
    for i, currency in enumerate(CURRENCIES):
        mode = rng.choice(MODES[2:])
        fixed = {"initial_margin": D(500), "maintenance_margin": D(300)} if mode == "futures" else {}
        terms.append(
            Terms(
                f"X{i}", currency, contract_size=D(rng.choice((1, 10, 50))), mode=mode, margin_rate=D("0.5"),
                hedged_margin=D(rng.choice((0, 1))), larger_leg=rng.random() < 0.3, **fixed,
            )
        )  # fmt: skip
    return terms


def make_quotes(rng, terms, gone=()):
    quotes = {}
    for t in terms:
        if t.symbol in gone:
            continue
        whole = D(WORTH[t.base_currency]) / D(WORTH[t.currency]) if t.base_currency else D(100)
        middle = (whole * D(str(round(rng.uniform(0.9, 1.1), 6)))).quantize(D("0.000001"))
        spread = (middle * D("0.0002")).quantize(D("0.000001"))
        quotes[t.symbol] = Quote(middle, middle + spread, NOW - rng.randrange(1000), rng.random() > 0.02)
    return quotes


def make_account(rng, terms, market, number):
    rules = Rules(
        rng.choice(CURRENCIES), D(rng.choice((1, 30, 100))), netting=rng.random() < 0.5, mid=rng.random() < 0.2,
        floating=rng.random() < 0.2, in_money=rng.random() < 0.1, margin_call=D(100), stop_out=D(rng.choice((0, 50))),
        tiers=((D(2), D(1)), (D(3), D(2)), (D(1), D("4"))) if rng.random() < 0.2 else (),
    )  # fmt: skip
    traded = rng.sample(terms, rng.choice((1, 1, 2, 4)))
    positions, orders = [], []
    for i in range(rng.randrange(7)):
        t = rng.choice(traded)
        if rules.netting and any(p.terms is t for p in positions):
            continue
        quote = market.quotes.get(t.symbol, Quote(D(1), D(1)))
        price = (quote.bid * D(str(round(rng.uniform(0.95, 1.05), 4)))).quantize(D("0.00001")) or D("0.00001")
        made = Holding(number * 100 + i, t, rng.choice((BUY, SELL)), D(rng.randrange(1, 500)) / 100, price)
        margin = opening_margin(made, rules, market) if rng.random() < 0.9 else None
        made = Holding(made.id, t, made.side, made.quantity, price, margin)
        if margin is not None and rng.random() < 0.2:
            orders.append(made)
        else:
            positions.append(made)
    return MarginAccount(rules, D(rng.randrange(-1000, 100000)), positions, orders)


def make(seed, accounts=40, gone=()):
    rng = random.Random(seed)
    terms = make_terms(rng)
    market = MarketPrices(make_quotes(rng, terms, gone), GRAPH)
    return {f"demo:{n}": make_account(rng, terms, market, n) for n in range(accounts)}, market


def ticks(market):
    return {
        symbol: PriceTick(float(q.bid), float(q.ask), q.ts, NOW + 1000 if q.fresh else NOW - 1)
        for symbol, q in market.quotes.items()
    }


def load(accounts, market):
    book = Book(GRAPH)
    book.tick(ticks(market), NOW)
    book.put(accounts)
    book.currencies.follow(PAIR_NAMES)
    return book


def near(got, wanted, scale=1.0):
    if wanted is None:
        return math.isnan(got)
    return math.isclose(got, float(wanted), rel_tol=1e-9, abs_tol=1e-9 * scale)


def check(book, key, account, market):
    """Every number of one account in the columns is the oracle's."""
    slot = book.index[key]
    wanted = value(account, market)
    at = np.array([slot])
    # A sum of gains and losses that nearly cancel is only as exact as its largest part.
    scale = (
        float(sum(abs(p) for p in wanted.profits.values() if p is not None)) + abs(float(account.balance)) + 1
    )
    rows, _ = book.rows_of(at)
    profits = {
        int(book.rows.id[row]): float(book.rows.pnl[row]) for row in rows if not book.rows.pending[row]
    }
    assert profits.keys() == wanted.profits.keys()
    for number, profit in wanted.profits.items():
        holding = next(h for h in account.positions if h.id == number)
        gross = float(holding.units * holding.price) * 200
        assert near(profits[number], profit, gross), (key, number)
    assert near(book.slots.unrealized[slot], wanted.unrealized, scale), key
    assert near(book.equity(at)[0], wanted.equity, scale), key
    assert near(book.slots.used[slot], wanted.used, scale), key
    assert bool(book.slots.stale[slot]) == wanted.stale, key
    assert tuple(book.missing(slot)) == wanted.missing, key
    assert STATES[book.slots.state[slot]] == state(wanted, account.rules), key
    assert book.oldest(at)[0] == (wanted.oldest_ts or 0), key
    for level in (account.rules.margin_call, account.rules.stop_out):
        price = price_at(level, account, wanted, market)
        got = book.prices_at(at, np.array([float(level)]))[0]
        assert math.isnan(got) if price is None else math.isclose(got, float(price), rel_tol=1e-7), (
            key,
            got,
            price,
        )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.sets(st.sampled_from((*PAIR_NAMES, "X1", "X5")), max_size=2))
def test_columns_equal_the_oracle(seed, gone):
    accounts, market = make(seed, gone=gone)
    book = load(accounts, market)
    book.revalue()
    for key, account in accounts.items():
        check(book, key, account, market)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_revaluing_only_what_a_tick_touches_equals_revaluing_everything(seed):
    rng = random.Random(seed)
    accounts, market = make(seed)
    book = load(accounts, market)
    book.revalue()
    for _ in range(5):
        moved = rng.sample(sorted(market.quotes), 3)
        quotes = dict(market.quotes)
        for symbol in moved:
            q = quotes[symbol]
            factor = D(str(round(rng.uniform(0.97, 1.03), 5)))
            quotes[symbol] = Quote(q.bid * factor, q.ask * factor, NOW, fresh=True)
        market = MarketPrices(quotes, GRAPH)
        if rng.random() < 0.5:  # an account changes in between
            key, number = f"demo:{rng.randrange(50)}", rng.randrange(1000, 2000)
            accounts[key] = make_account(rng, make_terms(random.Random(seed)), market, number)
            book.revalue(book.put({key: accounts[key]}))
        changed = book.tick({s: t for s, t in ticks(market).items() if s in moved}, NOW)
        book.revalue(book.depending(changed))
    for key, account in accounts.items():
        check(book, key, account, market)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 50))
def test_money_scales_with_its_size(seed, factor):
    accounts, market = make(seed, 10)
    for account in accounts.values():
        rules = Rules(account.rules.currency, account.rules.leverage, netting=account.rules.netting)

        def scaled(holdings, by):
            return [
                Holding(h.id, h.terms, h.side, h.quantity * by, h.price, h.margin and h.margin * by)
                for h in holdings
            ]

        small = value(MarginAccount(rules, account.balance, account.positions, account.orders), market)
        large = value(
            MarginAccount(
                rules,
                account.balance * factor,
                scaled(account.positions, factor),
                scaled(account.orders, factor),
            ),
            market,
        )
        if small.equity is not None:
            assert abs(large.equity - small.equity * factor) <= D("1e-12")
        if small.used is not None:
            assert abs(large.used - small.used * factor) <= D("1e-12")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_closing_everything_at_the_mark_leaves_the_equity_as_balance(seed):
    accounts, market = make(seed, 10)
    for account in accounts.values():
        wanted = value(account, market)
        if wanted.equity is None:
            continue
        balance, rules = account.balance, account.rules
        for h in account.positions:
            earned = gain(h, mark(h.side, market.quotes[h.terms.symbol], mid=rules.mid))
            balance += converted(earned, h.terms.currency, rules.currency, market, mid=rules.mid)
        assert abs(balance - wanted.equity) <= D("1e-12")


def test_accounts_come_and_go_and_blocks_are_compacted():
    accounts, market = make(5, 300)
    book = load(accounts, market)
    for round_ in range(40):
        fresh, _ = make(100 + round_, 300)
        accounts = {k: a for k, a in fresh.items() if int(k[5:]) % 7 != round_ % 7}
        book.drop(set(book.index) - set(accounts))
        book.put(accounts)
    assert book.used_rows < 5 * sum(len(a.positions) + len(a.orders) for a in accounts.values()) + 5000
    book.revalue()
    for key, account in accounts.items():
        check(book, key, account, market)


def test_a_price_turns_stale_by_the_clock_alone():
    accounts, market = make(7)
    book = load(accounts, market)
    book.revalue()
    assert book.tick({}, NOW) == []
    gone = book.tick({}, NOW + 2000)
    assert set(gone) == {s for s, q in market.quotes.items() if q.fresh}
    book.revalue(book.depending(gone))
    held = [book.index[key] for key, account in accounts.items() if account.positions]
    assert book.slots.stale[held].all()


@pytest.mark.parametrize(
    "tick",
    [PriceTick(1.2, 1.1, NOW, NOW + 1), PriceTick(0.0, 1.1, NOW, NOW + 1), PriceTick(math.nan, 1.1, NOW, NOW + 1),
     PriceTick(1.1, math.inf, NOW, NOW + 1), PriceTick(-1.0, 1.0, NOW, NOW + 1), None],
    ids=["crossed", "zero", "nan", "infinite", "negative", "gone"],
)  # fmt: skip
def test_a_quote_that_cannot_be_used_is_missing(tick):
    terms = Terms("EURUSD", "USD", "EUR", contract_size=D(100000), mode="forex")
    account = MarginAccount(Rules("USD", D(100)), D(1000), [Holding(1, terms, BUY, D(1), D("1.1"), D(1100))])
    book = Book(GRAPH)
    book.put({"demo:1": account})
    book.tick({"EURUSD": PriceTick(1.1, 1.1001, NOW, NOW + 1000)}, NOW)
    book.revalue()
    assert not book.slots.stale[1]
    changed = book.tick({"EURUSD": tick}, NOW)
    assert list(book.depending(changed)) == [1]
    book.revalue()
    assert book.slots.stale[1]
    assert math.isnan(book.slots.unrealized[1])
    assert book.missing(1) == ["EURUSD"]
