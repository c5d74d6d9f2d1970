"""Frames and connections for the tests of delivery."""

import orjson

from stocksblitz.delivery.connection import Connection
from stocksblitz.delivery.frames import Frame

STREAM = ("NIFTY50", "5min")


def frame(seq, *, ts=0, closed=False, epoch="a", prev=0, ids=("RSI_14",), **flags) -> Frame:
    return Frame(
        orjson.dumps(
            {
                "epoch": epoch,
                "seq": seq,
                "symbol": STREAM[0],
                "timeframe": STREAM[1],
                "timestamp": "2026-01-05T09:15:00.000Z",
                "ohlcv": {
                    "ts": ts,
                    "open": 1.0,
                    "high": 2.0,
                    "low": 0.5,
                    "close": 1.5,
                    "volume": 10.0,
                    "closed": closed,
                },
                "greeks": None,
                "oi": None,
                "indicators": {
                    each: {"ts": ts, "value": seq, "timeframe": "5min", "ready": True} for each in ids
                },
                "source": "simulated",
                "stale": False,
                "prev": prev,
                "flushed": 0,
                **flags,
            }
        )
    )


class Transport:
    """Keeps what is written; `blocked` is the test's to set."""

    pongs = True
    lost = False
    waiting = 0

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.blocked = False
        self.closed = None
        self.on_pause = self.on_resume = self.on_alive = lambda: None

    def writer(self):
        return lambda framed: self.write_all([framed])

    def write_all(self, framed):
        self.written += framed
        if self.blocked:
            self.on_pause()

    def finish(self, code, reason):
        self.closed = code

    @property
    def messages(self):
        return [orjson.loads(each[each.index(b"{") :]) for each in self.written]


def new_connection(session_id="s", max_backlog=100_000):
    transport = Transport()
    connection = Connection(
        user_id=1, session_id=session_id, ws_conn_id="ws", transport=transport, max_backlog=max_backlog
    )
    return connection, transport
