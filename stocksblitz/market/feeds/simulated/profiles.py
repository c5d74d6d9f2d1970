"""What the simulated market trades."""

from typing import NamedTuple


class Profile(NamedTuple):
    """A simulated instrument: where its price stays around, how it moves, and its terms."""

    symbol: str
    name: str
    exchange: str
    kind: str
    price: float
    daily_move: float
    """Standard deviation of a day's logarithmic return."""
    ticks_per_unit: int
    """The tick size is 1 / this: so prices are whole numbers of ticks and come out as clean decimals."""
    spread: int
    """Ask minus bid, in ticks."""
    volume: int
    """An ordinary minute's."""
    base_currency: str
    currency: str
    margin_mode: str
    contract_size: int = 1
    margin_rate: str = "1"
    strike_step: int = 0
    """Distance of the option chain's strikes; 0: there is none."""
    lot_size: str = "1"


PROFILES = (
    Profile("NIFTY50", "NIFTY 50", "XNSE", "index", 24_500, 0.009, 20, 10, 9_000, "", "INR", "cfd", 1, "0.1", 50),
    Profile("BTCUSD", "Bitcoin / US Dollar", "24x7", "crypto", 68_000, 0.025, 10, 5, 240, "BTC", "USD",
            "cfd_leverage", 1, "1", 0, "0.001"),
    Profile("BANKNIFTY", "NIFTY Bank", "XNSE", "index", 52_000, 0.011, 20, 20, 6_000, "", "INR", "cfd", 1, "0.1", 100),
    Profile("RELIANCE", "Reliance Industries", "XNSE", "equity", 1_420, 0.014, 20, 1, 14_000, "", "INR", "stock"),
    Profile("TCS", "Tata Consultancy Services", "XNSE", "equity", 3_350, 0.013, 20, 2, 5_000, "", "INR", "stock"),
    Profile("INFY", "Infosys", "XNSE", "equity", 1_560, 0.015, 20, 1, 9_000, "", "INR", "stock"),
    Profile("AAPL", "Apple Inc.", "XNAS", "equity", 232, 0.015, 100, 1, 110_000, "", "USD", "stock"),
    Profile("MSFT", "Microsoft Corporation", "XNAS", "equity", 428, 0.014, 100, 2, 50_000, "", "USD", "stock"),
    Profile("EURUSD", "Euro / US Dollar", "24x5", "forex", 1.0850, 0.0045, 100_000, 8, 260, "EUR", "USD",
            "forex", 100_000, "1", 0, "0.01"),
    Profile("GBPUSD", "British Pound / US Dollar", "24x5", "forex", 1.2750, 0.005, 100_000, 11, 230, "GBP", "USD",
            "forex", 100_000, "1", 0, "0.01"),
    Profile("USDJPY", "US Dollar / Japanese Yen", "24x5", "forex", 152.40, 0.0055, 1_000, 9, 240, "USD", "JPY",
            "forex", 100_000, "1", 0, "0.01"),
    Profile("USDINR", "US Dollar / Indian Rupee", "24x5", "forex", 84.40, 0.0022, 10_000, 25, 120, "USD", "INR",
            "forex", 100_000, "1", 0, "0.01"),
    Profile("ETHUSD", "Ether / US Dollar", "24x7", "crypto", 2_650, 0.03, 100, 10, 900, "ETH", "USD",
            "cfd_leverage", 1, "1", 0, "0.01"),
)  # fmt: skip
"""In the order in which their past is written at the first start: what a new user opens first comes first."""
