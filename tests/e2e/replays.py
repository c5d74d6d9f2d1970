"""Files for the replay feed, and the bars and values that must follow from them, computed independently."""

import itertools
from pathlib import Path

from indicators.engine.kernels import Value
from indicators.engine.spec import parse
from stocksblitz.market.core.bars import Bar
from tests.indicators.engine.data import COMMON, agree, columns, parts_of
from tests.indicators.engine.test_replay_batch import ORACLES

MINUTE = 60_000


def cut(source: Path, target: Path, rows: int) -> Path:
    """The first rows of a file of bars."""
    with source.open() as lines:
        target.write_text("".join(itertools.islice(lines, rows + 1)))
    return target


def larger(bars: list[Bar], minutes: int, last_slot: int = 10**9) -> list[Bar]:
    """Bars of so many minutes counted from their session's opening; what comes after ``last_slot`` belongs to it."""
    found: list[Bar] = []
    for bar in bars:
        slot = min((bar.ts - bar.session) // (minutes * MINUTE), last_slot)
        ts = bar.session + slot * minutes * MINUTE
        if found and found[-1].ts == ts:
            before = found[-1]
            found[-1] = before._replace(
                high=max(before.high, bar.high),
                low=min(before.low, bar.low),
                close=bar.close,
                volume=before.volume + bar.volume,
            )
        else:
            found.append(bar._replace(ts=ts))
    return found


class Truth:
    """The bars of one timeframe and the values of the nine common indicators at each."""

    def __init__(self, bars: list[Bar]) -> None:
        self.bars = {bar.ts: bar for bar in bars}
        table = columns(bars)
        self.values = {
            each: {
                bar.ts: row
                for bar, row in zip(bars, zip(*ORACLES[each](table, bars), strict=True), strict=True)
            }
            for each in COMMON
        }

    def check_bar(self, ohlcv: dict) -> None:
        bar = self.bars[ohlcv["ts"]]
        assert [ohlcv[part] for part in ("open", "high", "low", "close")] == list(bar[1:5]), (ohlcv, bar)
        assert abs(ohlcv["volume"] - bar.volume) <= 1e-9 * max(1.0, bar.volume)

    def check_value(self, indicator: str, ts: int, value: Value) -> None:
        parts = parse(indicator).entry.parts
        close = self.bars[ts].close
        for one, other, part in zip(
            parts_of(value, parts), self.values[indicator][ts], parts or ("",), strict=True
        ):
            scale = 1.0 if part == "BBP" else close
            assert agree(one, float(other), scale), f"{indicator} {part} at {ts}: {one} is not {other}"

    def check_frame(self, frame: dict) -> int:
        """Check a closed frame; returns how many of its values were ready."""
        self.check_bar(frame["ohlcv"])
        ready = [each for each, entry in frame["indicators"].items() if entry["ready"]]
        for each in ready:
            self.check_value(each, frame["ohlcv"]["ts"], frame["indicators"][each]["value"])
        assert all(frame["indicators"][each]["value"] is None for each in set(COMMON) - set(ready))
        return len(ready)
