"""The published worked examples again, as a client would work them: instruments, accounts and positions over REST."""

import csv
import json
from decimal import Decimal as D

import pytest

from stocksblitz.market.models import Instrument

pytestmark = pytest.mark.django_db

PAIRS = ("AUDUSD", "EURGBP", "EURUSD", "GBPUSD", "USDCHF", "USDJPY")
PLAIN = {"exchange": "24x7", "kind": "index"}


def forex(symbol, **over):
    terms = {"exchange": "24x5", "kind": "forex", "base_currency": symbol[:3], "currency": symbol[3:]}
    return {"symbol": symbol, **terms, "contract_size": "100000", "margin_mode": "forex", **over}


def cfd(symbol, currency="USD", **over):
    return {"symbol": symbol, **PLAIN, "currency": currency, "margin_mode": "cfd", **over}


FUTURE = {
    "margin_mode": "futures",
    "initial_margin": "1000",
    "maintenance_margin": "500",
    "hedged_margin": "500",
}
UNITS = {"contract_size": "1"}
LEAN = {"leverage": 2, "margin_policy": "floating"}
OANDA = {"currency": "GBP", "marking": "mid", "margin_policy": "floating"}

# case: (instruments, account, positions (symbol, side, lots, price), prices now)
CASES = {
    "MT5-01": ([forex("EURUSD")], {}, [("EURUSD", "buy", "1", "1.2790")], {"EURUSD": "1.2790"}),
    "MT5-02": ([forex("EURUSD", margin_rate="1.15")], {}, [("EURUSD", "buy", "1", "1.2790")], {"EURUSD": "1.2790"}),
    "MT5-03": (
        [forex("EURUSD", margin_mode="forex_no_leverage")], {"currency": "EUR"},
        [("EURUSD", "buy", "1", "1.2")], {"EURUSD": "1.2"},
    ),
    "MT5-04": ([cfd("OIL", contract_size="100")], {}, [("OIL", "buy", "1", "80")], {"OIL": "80"}),
    "MT5-08": ([cfd("BR", **FUTURE)], {}, [("BR", "buy", "1", "60"), ("BR", "sell", "2", "60")], {"BR": "60"}),
    "MT5-11": ([forex("USDCHF")], {}, [("USDCHF", "buy", "12", "0.9")], {"USDCHF": "0.9"}),
    "MT5-12": (
        [forex("EURUSD"), forex("USDCHF"), forex("USDJPY")], {"leverage": 100},
        [("EURUSD", "buy", "2", "0.9"), ("USDCHF", "sell", "1", "0.9"), ("USDJPY", "buy", "15", "90")],
        {"EURUSD": "0.9", "USDCHF": "0.9", "USDJPY": "90"},
    ),
    "OANDA-01": (
        [forex("EURGBP", margin_mode="forex_no_leverage", margin_rate="0.0333333", **UNITS)], OANDA,
        [("EURGBP", "buy", "1000000", "0.8568")], {"EURGBP": "0.8566/0.8568"},
    ),
    "OANDA-03": ([cfd("EURUSD", margin_rate="0.02")], {}, [("EURUSD", "buy", "10000", "0.9136")], {"EURUSD": "0.9136"}),
    "NT-12": (
        [cfd("BTCUSDT", "USDT"), forex("USDTEUR", kind="crypto", base_currency="USDT", currency="EUR")],
        {"currency": "EUR"},
        [("BTCUSDT", "buy", "1", "50000")], {"BTCUSDT": "60000", "USDTEUR": "0.9"},
    ),
    "NT-14": (
        [forex("AUDUSD", margin_mode="forex_no_leverage", margin_rate="0.08", **UNITS)], {},
        [("AUDUSD", "buy", "50000", "1.00000")], {"AUDUSD": "0.98000/0.98010"},
    ),
    "LEAN-01": ([cfd("AAPL", margin_mode="cfd_leverage")], LEAN, [("AAPL", "buy", "2000", "1")], {"AAPL": "2"}),
    "LEAN-02": ([cfd("AAPL", margin_mode="cfd_leverage")], LEAN, [("AAPL", "buy", "2000", "1")], {"AAPL": "0.5"}),
    "LEAN-03": ([cfd("AAPL", margin_mode="cfd_leverage")], LEAN, [("AAPL", "buy", "2000", "1")], {"AAPL": "0.9"}),
    "EBH-01": (
        [forex("USDCHF")], {"leverage": 30, "balance": "5000"}, [("USDCHF", "buy", "1", "0.9")], {"USDCHF": "0.9"},
    ),
    "DRV-01": ([forex("USDJPY")], {}, [("USDJPY", "buy", "1", "150.000")], {"USDJPY": "150.500/150.510"}),
    "DRV-03": (
        [forex("EURUSD")], {},
        [("EURUSD", "buy", "1", "1.1000"), ("EURUSD", "sell", "1", "1.1002")], {"EURUSD": "1.0900/1.0902"},
    ),
    "DRV-04": (
        [forex("EURUSD"), forex("GBPUSD")], {},
        [("EURUSD", "buy", "1.0", "1.1000"), ("GBPUSD", "buy", "0.5", "1.3000")],
        {"EURUSD": "1.0980", "GBPUSD": "1.2990"},
    ),
    "DRV-06": ([forex("AUDUSD")], {}, [("AUDUSD", "buy", "10", "1.0000")], {"AUDUSD": "0.9000"}),
}  # fmt: skip

REALIZED = {
    "FX-02": (forex("USDJPY"), ("USDJPY", "0.1", "136.740"), {"USDJPY": "137.180"}),
    "FX-03": (forex("USDJPY", **UNITS), ("USDJPY", "10000", "105.42"), {"USDJPY": "105.77"}),
    "LEAN-04": (
        cfd("DE30EUR", "EUR"),
        ("DE30EUR", "5", "10000"),
        {"DE30EUR": "10100", "EURUSD": "1.10"},
    ),
    "LEAN-05": (cfd("FUT", contract_size="50"), ("FUT", "100", "100"), {"FUT": "99"}),
}


@pytest.fixture
def rows(data):
    with (data / "portfolio" / "cases.csv").open() as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def world(real, rest, account, price):
    """Make what a case needs and open its positions; returns the account's key and the positions."""

    def make(row, instruments, terms, positions, prices):
        for each in instruments:
            Instrument.objects.create(**each)
        if "EURUSD" in prices and not any(each["symbol"] == "EURUSD" for each in instruments):
            Instrument.objects.create(**forex("EURUSD"))
        made = {"currency": row["account_ccy"], "balance": row["balance"] or "0", **terms}
        if row["leverage"] and "leverage" not in terms:
            made["leverage"] = int(row["leverage"])
        key = account("live:1", **made)
        opened = []
        for symbol, side, lots, at in positions:
            body = {"account": key, "symbol": symbol, "side": side, "quantity": lots, "price": at}
            opened.append(rest["admin"]("post", "/api/portfolio/positions", body, 201))
        for symbol, text in prices.items():
            bid, _, ask = text.partition("/")
            price(symbol, bid, ask or bid)
        return key, opened

    return make


NAMES = {
    "exp_unrealized_pnl": "unrealized_pnl",
    "exp_equity": "equity",
    "exp_used_margin": "used_margin",
    "exp_free_margin": "free_margin",
    "exp_margin_level_pct": "margin_level",
}


@pytest.mark.parametrize("case", CASES)
def test_a_worked_example_over_rest(case, rows, world, rest):
    row = rows[case]
    key, _ = world(row, *CASES[case])
    shown = rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")
    assert shown["stale"] is False
    for column, name in NAMES.items():
        if row[column]:
            assert abs(D(shown[name]) - D(row[column])) <= D(row["tolerance"]), (
                name,
                shown[name],
                row[column],
            )
    if case == "EBH-01":
        lines = {n: D(shown["equity"]) - D(shown[f"{n}_distance"]) for n in ("margin_call", "stop_out")}
        wanted = json.loads(row["exp_other"])
        for name, line in lines.items():
            assert abs(line - D(wanted[f"{name}_equity"])) <= D("0.01")
    if case == "DRV-03":
        assert shown["margin_level"] is None


@pytest.mark.parametrize("case", REALIZED)
def test_a_result_that_is_booked_over_rest(case, rows, world, rest):
    row = rows[case]
    instrument, (symbol, lots, opened), prices = REALIZED[case]
    key, [position] = world(row, [instrument], {}, [(symbol, "buy", lots, opened)], prices)
    closed = rest["alice"]("post", f"/api/portfolio/positions/{position['id']}/close", {})
    assert abs(D(closed["fill"]["realized_pnl"]) - D(row["exp_realized_pnl"])) <= D(row["tolerance"])
    shown = rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")
    assert (
        shown["balance"]
        == shown["equity"]
        == f"{D(row['balance'] or 0) + D(closed['fill']['realized_pnl']):.2f}"
    )


def test_margin_of_positions_and_an_order_over_rest(rows, world, rest):
    row = rows["MT5-05"]
    x = cfd("X", margin_mode="cfd_leverage", contract_size="5000", tick_size="0.001")
    key, _ = world(
        row,
        [x],
        {"balance": "10000"},
        [("X", "buy", "1", "15.436"), ("X", "buy", "2", "15.432")],
        {"X": "15.43"},
    )

    def used() -> D:
        return D(rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")["used_margin"])

    parts = json.loads(row["exp_other"])
    assert used() == D(parts["positions_margin"])
    body = {"account": key, "symbol": "X", "side": "buy", "quantity": "1", "type": "limit", "price": "15.412"}
    assert D(rest["alice"]("post", "/api/portfolio/orders", body, 201)["margin"]) == D(parts["order_margin"])
    assert used() == D(row["exp_used_margin"])


def test_two_margin_models_over_rest(rows, world, rest, account):
    wanted = json.loads(rows["NT-13"]["exp_other"])
    plain = cfd("E", margin_rate="0.03")
    leveraged = cfd("F", margin_rate="0.03", margin_mode="cfd_leverage")
    positions = [("E", "buy", "100000", "1.10000"), ("F", "buy", "100000", "1.10000")]
    _, (first, second) = world(rows["NT-13"], [plain, leveraged], {}, positions, {})
    assert (D(first["margin"]), D(second["margin"])) == (D(wanted["standard"]), D(wanted["leveraged"]))


def test_a_missing_rate_over_rest(rows, world, rest):
    row = rows["DRV-07"]
    key, _ = world(row, [forex("EURGBP")], {}, [("EURGBP", "buy", "1", "0.85")], {"EURGBP": "0.86/0.8602"})
    shown = rest["alice"]("get", f"/api/portfolio/accounts/{key}/snapshot")
    assert (shown["state"].upper(), shown["equity"]) == (json.loads(row["exp_other"])["state"], None)
